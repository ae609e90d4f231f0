"""Examples of conversations and their items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.openai.operation import Examples

if TYPE_CHECKING:
    from tokenbalance.model import Document

_CREATED: Final = 1893456000
_CONVERSATION_ID: Final = "conv_123"
_CONVERSATION: Final[Document] = {
    "id": _CONVERSATION_ID,
    "object": "conversation",
    "created_at": _CREATED,
    "metadata": {"topic": "greetings"},
}
_AT_CONVERSATION: Final = {"conversation_id": _CONVERSATION_ID}
NEW_CONVERSATION_EXAMPLES: Final = Examples(
    {"With one message": {"items": [{"role": "user", "content": "Hello!"}]}}, _CONVERSATION
)
CONVERSATION_EXAMPLES: Final = Examples({}, _CONVERSATION, parameters=_AT_CONVERSATION)
CHANGED_CONVERSATION_EXAMPLES: Final = Examples(
    {"Its metadata": {"metadata": {"topic": "greetings"}}},
    _CONVERSATION,
    parameters=_AT_CONVERSATION,
)
DELETED_CONVERSATION_EXAMPLES: Final = Examples(
    {},
    {"id": _CONVERSATION_ID, "object": "conversation.deleted", "deleted": True},
    parameters=_AT_CONVERSATION,
)
