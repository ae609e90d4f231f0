"""Conversations and their items."""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.examples.conversations import (
    CHANGED_CONVERSATION_EXAMPLES,
    CONVERSATION_EXAMPLES,
    DELETED_CONVERSATION_EXAMPLES,
    NEW_CONVERSATION_EXAMPLES,
)
from tokenbalance.openai.families import (
    CONVERSATION,
    READ,
)
from tokenbalance.openai.operation import Operation

CONVERSATIONS: Final = (
    Operation(
        "POST",
        "/conversations",
        CONVERSATION,
        "Create a conversation",
        own_creates=("conversation:$.id",),
        own_examples=NEW_CONVERSATION_EXAMPLES,
    ),
    Operation(
        "GET",
        "/conversations/{conversation_id}",
        READ,
        "One conversation",
        uses=("conversation",),
        own_examples=CONVERSATION_EXAMPLES,
    ),
    Operation(
        "POST",
        "/conversations/{conversation_id}",
        CONVERSATION,
        "Change a conversation",
        uses=("conversation",),
        own_examples=CHANGED_CONVERSATION_EXAMPLES,
    ),
    Operation(
        "DELETE",
        "/conversations/{conversation_id}",
        READ,
        "Delete a conversation",
        uses=("conversation",),
        deletes="conversation",
        own_examples=DELETED_CONVERSATION_EXAMPLES,
    ),
)
