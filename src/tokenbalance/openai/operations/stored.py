"""Stored responses and chats: read, continued in part, deleted.

The usage that they report was charged when they were made, so that reading them is free.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tokenbalance.openai.examples.stored import (
    CANCELLED_EXAMPLES,
    CHANGED_CHAT_EXAMPLES,
    CHAT_EXAMPLES,
    CHAT_MESSAGES_EXAMPLES,
    CHATS_EXAMPLES,
    DELETED_CHAT_EXAMPLES,
    DELETED_RESPONSE_EXAMPLES,
    INPUT_ITEMS_EXAMPLES,
    RESPONSE_EXAMPLES,
)
from tokenbalance.openai.families import COMPACT, FREE, READ
from tokenbalance.openai.operation import Answer, Operation

_IN_OUTPUT: Final = (
    "container_file:$.output[].content[].annotations[].file_id",
    "container:$.output[].content[].annotations[].container_id",
    "file:$.output[].results[].file_id",
)
"""What a response names that others have made."""

_RESPONSES: Final = (
    Operation("POST", "/responses/compact", COMPACT, "Compaction of a conversation"),
    Operation(
        "GET",
        "/responses/{response_id}",
        READ,
        "One response",
        uses=("response",),
        own_derived=_IN_OUTPUT,
        query=("include", "include_obfuscation", "starting_after", "stream"),
        answer=Answer.EVENTS,
        own_examples=RESPONSE_EXAMPLES,
    ),
    Operation(
        "DELETE",
        "/responses/{response_id}",
        READ,
        "Delete a response",
        uses=("response",),
        deletes="response",
        answer=Answer.NOTHING,
        own_examples=DELETED_RESPONSE_EXAMPLES,
    ),
    Operation(
        "POST",
        "/responses/{response_id}/cancel",
        READ,
        "Cancel a response in the background",
        uses=("response",),
        own_derived=_IN_OUTPUT,
        own_examples=CANCELLED_EXAMPLES,
    ),
    Operation(
        "GET",
        "/responses/{response_id}/input_items",
        READ,
        "Input items of a response",
        lists="item",
        uses=("response",),
        own_derived=("listed_item:$.data[].id", "container:$.data[].container_id"),
        query=("after", "include", "limit", "order"),
        own_examples=INPUT_ITEMS_EXAMPLES,
    ),
)
_CHATS: Final = (
    Operation(
        "GET",
        "/chat/completions",
        READ,
        "Stored chat completions",
        lists="chat_completion",
        query=("after", "limit", "metadata", "model", "order"),
        own_examples=CHATS_EXAMPLES,
    ),
    Operation(
        "GET",
        "/chat/completions/{completion_id}",
        READ,
        "One stored chat completion",
        uses=("chat_completion",),
        own_examples=CHAT_EXAMPLES,
    ),
    Operation(
        "POST",
        "/chat/completions/{completion_id}",
        FREE,
        "Change a stored chat completion",
        uses=("chat_completion",),
        own_examples=CHANGED_CHAT_EXAMPLES,
    ),
    Operation(
        "DELETE",
        "/chat/completions/{completion_id}",
        READ,
        "Delete a stored chat completion",
        uses=("chat_completion",),
        deletes="chat_completion",
        own_examples=DELETED_CHAT_EXAMPLES,
    ),
    Operation(
        "GET",
        "/chat/completions/{completion_id}/messages",
        READ,
        "Messages of a stored chat completion",
        lists="chat_message",
        uses=("chat_completion",),
        own_derived=("chat_message:$.data[].id",),
        query=("after", "limit", "order"),
        own_examples=CHAT_MESSAGES_EXAMPLES,
    ),
)
_BETA: Final = tuple(
    replace(one, path=f"{one.path}?beta=true", summary=f"{one.summary} (beta)")
    for one in _RESPONSES
)
"""Operations that only the query tells from those above."""

STORED: Final = (*_RESPONSES, *_BETA, *_CHATS)
