"""Examples of conversations and their items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.openai.examples.shapes import CREATED, deleted, page_of, read
from tokenbalance.openai.operation import Examples

if TYPE_CHECKING:
    from tokenbalance.model import Document

_CONVERSATION_ID: Final = "conv_123"
_ITEM_ID: Final = "msg_123"
_CONVERSATION: Final[Document] = {
    "id": _CONVERSATION_ID,
    "object": "conversation",
    "created_at": CREATED,
    "metadata": {"topic": "greetings"},
}
_MESSAGE: Final[Document] = {"role": "user", "content": "Hello!"}
_ITEM: Final[Document] = {
    "id": _ITEM_ID,
    "type": "message",
    "status": "completed",
    "role": "user",
    "content": [{"type": "input_text", "text": "Hello!"}],
}
_AT_CONVERSATION: Final = {"conversation_id": _CONVERSATION_ID}
_AT_ITEM: Final = {**_AT_CONVERSATION, "item_id": _ITEM_ID}

NEW_CONVERSATION: Final = Examples({"With one message": {"items": [_MESSAGE]}}, _CONVERSATION)
CONVERSATION: Final = read(_CONVERSATION, _AT_CONVERSATION)
CHANGED_CONVERSATION: Final = Examples(
    {"Its metadata": {"metadata": {"topic": "greetings"}}},
    _CONVERSATION,
    parameters=_AT_CONVERSATION,
)
DELETED_CONVERSATION: Final = read(
    deleted(_CONVERSATION_ID, "conversation.deleted"), _AT_CONVERSATION
)
ITEMS: Final = read(page_of(_ITEM), _AT_CONVERSATION)
NEW_ITEMS: Final = Examples(
    {"One message": {"items": [_MESSAGE]}}, page_of(_ITEM), parameters=_AT_CONVERSATION
)
ITEM: Final = read(_ITEM, _AT_ITEM)
DELETED_ITEM: Final = read(_CONVERSATION, _AT_ITEM)
