"""Conversations and their items."""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.examples import conversations as examples
from tokenbalance.openai.families import CONVERSATION, READ
from tokenbalance.openai.operation import Operation

CONVERSATIONS: Final = (
    Operation(
        "POST",
        "/conversations",
        CONVERSATION,
        "Create a conversation",
        own_creates=("conversation:$.id",),
        own_examples=examples.NEW_CONVERSATION,
    ),
    Operation(
        "GET",
        "/conversations/{conversation_id}",
        READ,
        "One conversation",
        uses=("conversation",),
        own_examples=examples.CONVERSATION,
    ),
    Operation(
        "POST",
        "/conversations/{conversation_id}",
        CONVERSATION,
        "Change a conversation",
        uses=("conversation",),
        own_examples=examples.CHANGED_CONVERSATION,
    ),
    Operation(
        "DELETE",
        "/conversations/{conversation_id}",
        READ,
        "Delete a conversation",
        uses=("conversation",),
        deletes="conversation",
        own_examples=examples.DELETED_CONVERSATION,
    ),
    Operation(
        "GET",
        "/conversations/{conversation_id}/items",
        READ,
        "Items of a conversation",
        uses=("conversation",),
        lists="item",
        query=("after", "include", "limit", "order"),
        own_derived=(
            "listed_item:$.data[].id",
            "container:$.data[].container_id",
            "container_file:$.data[].content[].annotations[].file_id",
        ),
        own_examples=examples.ITEMS,
    ),
    Operation(
        "POST",
        "/conversations/{conversation_id}/items",
        CONVERSATION,
        "Add items to a conversation",
        uses=("conversation",),
        query=("include",),
        own_creates=("item:$.data[].id",),
        own_examples=examples.NEW_ITEMS,
    ),
    Operation(
        "GET",
        "/conversations/{conversation_id}/items/{item_id}",
        READ,
        "One item of a conversation",
        uses=("conversation", "item"),
        query=("include",),
        own_derived=(
            "container:$.container_id",
            "container_file:$.content[].annotations[].file_id",
        ),
        own_examples=examples.ITEM,
    ),
    Operation(
        "DELETE",
        "/conversations/{conversation_id}/items/{item_id}",
        READ,
        "Delete an item of a conversation",
        uses=("conversation", "item"),
        deletes="item",
        own_examples=examples.DELETED_ITEM,
    ),
)
