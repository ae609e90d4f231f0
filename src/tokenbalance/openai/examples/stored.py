"""Examples of stored responses and chats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.openai.operation import Examples

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document, Json

_MODEL: Final = "gpt-5.4-mini"
_CREATED: Final = 1893456000
_GREETING: Final = "Say hello in five languages."
_HELLO: Final = "Hello! Hallo! Bonjour! Hola! Ciao!"
_RESPONSE_ID: Final = "resp_123"
_CHAT_ID: Final = "chatcmpl-123"
_AT_RESPONSE: Final = {"response_id": _RESPONSE_ID}
_AT_CHAT: Final = {"completion_id": _CHAT_ID}
_TOPIC: Final[Document] = {"topic": "greetings"}
_ASKED: Final[Document] = {
    "id": "msg_122",
    "type": "message",
    "status": "completed",
    "role": "user",
    "content": [{"type": "input_text", "text": _GREETING}],
}


def _list(*rows: Mapping[str, Json]) -> Document:
    return {
        "object": "list",
        "data": [dict(row) for row in rows],
        "first_id": rows[0]["id"],
        "last_id": rows[-1]["id"],
        "has_more": False,
    }


def _response(status: str) -> Document:
    return {
        "id": _RESPONSE_ID,
        "object": "response",
        "created_at": _CREATED,
        "status": status,
        "model": _MODEL,
        "output": [
            {
                "id": "msg_123",
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": [{"type": "output_text", "annotations": [], "text": _HELLO}],
            }
        ],
        "usage": {"input_tokens": 13, "output_tokens": 11, "total_tokens": 24},
    }


_CHAT: Final[Document] = {
    "id": _CHAT_ID,
    "object": "chat.completion",
    "created": _CREATED,
    "model": _MODEL,
    "metadata": _TOPIC,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": _HELLO, "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 13, "completion_tokens": 11, "total_tokens": 24},
}

RESPONSE_EXAMPLES: Final = Examples({}, _response("completed"), parameters=_AT_RESPONSE)
CANCELLED_EXAMPLES: Final = Examples({}, _response("cancelled"), parameters=_AT_RESPONSE)
DELETED_RESPONSE_EXAMPLES: Final = Examples(
    {},
    {"id": _RESPONSE_ID, "object": "response.deleted", "deleted": True},
    parameters=_AT_RESPONSE,
)
INPUT_ITEMS_EXAMPLES: Final = Examples({}, _list(_ASKED), parameters=_AT_RESPONSE)
COMPACTION_EXAMPLES: Final = Examples(
    {
        "A conversation": {
            "model": _MODEL,
            "input": [
                {"role": "user", "content": _GREETING},
                {"role": "assistant", "content": _HELLO},
            ],
        }
    },
    {
        "id": "resp_124",
        "object": "response.compaction",
        "created_at": _CREATED,
        "output": [
            _ASKED,
            {"id": "cmp_123", "type": "compaction", "encrypted_content": "gAAAAABp..."},
        ],
        "usage": {"input_tokens": 120, "output_tokens": 301, "total_tokens": 421},
    },
)
CHATS_EXAMPLES: Final = Examples({}, _list(_CHAT))
CHAT_EXAMPLES: Final = Examples({}, _CHAT, parameters=_AT_CHAT)
CHANGED_CHAT_EXAMPLES: Final = Examples(
    {"Its metadata": {"metadata": _TOPIC}}, _CHAT, parameters=_AT_CHAT
)
DELETED_CHAT_EXAMPLES: Final = Examples(
    {},
    {"id": _CHAT_ID, "object": "chat.completion.deleted", "deleted": True},
    parameters=_AT_CHAT,
)
CHAT_MESSAGES_EXAMPLES: Final = Examples(
    {},
    _list({"id": f"{_CHAT_ID}-0", "role": "user", "content": _GREETING, "name": None}),
    parameters=_AT_CHAT,
)
