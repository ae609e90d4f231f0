"""Examples of operations on text, and of models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.openai.operation import Examples

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json

_MODEL: Final = "gpt-5.4-mini"
_COMPLETION_MODEL: Final = "Qwen/Qwen3-8B-Base"
_CREATED: Final = 1893456000
_HELLO: Final = "Hello! Hallo! Bonjour! Hola! Ciao!"
_GREETING: Final = "Say hello in five languages."
_CHAT: Final[Document] = {
    "model": _MODEL,
    "messages": [{"role": "user", "content": _GREETING}],
    "max_completion_tokens": 100,
}
_RESPONSE: Final[Document] = {"model": _MODEL, "input": _GREETING, "max_output_tokens": 100}
_STREAM: Final[Document] = {"stream": True}


def _usage(sent: int, responded: int, *, names: tuple[str, str]) -> Document:
    return {names[0]: sent, names[1]: responded, "total_tokens": sent + responded}


def _chat_usage(sent: int, responded: int) -> Document:
    return _usage(sent, responded, names=("prompt_tokens", "completion_tokens"))


def _model(name: str) -> Document:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "system"}


def _response(status: str, output: list[Json], usage: Document | None) -> Document:
    return {
        "id": "resp_123",
        "object": "response",
        "created_at": _CREATED,
        "status": status,
        "model": _MODEL,
        "output": output,
        "usage": usage,
    }


_FULL_RESPONSE: Final = _response(
    "completed",
    [
        {
            "id": "msg_123",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "annotations": [], "text": _HELLO}],
        }
    ],
    _usage(13, 11, names=("input_tokens", "output_tokens")),
)

_CHAT_STREAM: Final = f"""\
data: {{"id":"chatcmpl-123","object":"chat.completion.chunk","created":{_CREATED},\
"model":"{_MODEL}","choices":[{{"index":0,"delta":{{"role":"assistant","content":"Hello"}},\
"finish_reason":null}}]}}

data: {{"id":"chatcmpl-123","object":"chat.completion.chunk","created":{_CREATED},\
"model":"{_MODEL}","choices":[{{"index":0,"delta":{{}},"finish_reason":"stop"}}]}}

data: [DONE]

"""
_COMPLETION_STREAM: Final = f"""\
data: {{"id":"cmpl-123","object":"text_completion","created":{_CREATED},\
"model":"{_COMPLETION_MODEL}","choices":[{{"index":0,"text":" there","finish_reason":null}}]}}

data: [DONE]

"""
_RESPONSE_STREAM: Final = """\
event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"msg_123","output_index":0,\
"content_index":0,"delta":"Hello"}

event: response.completed
data: {"type":"response.completed","response":{"id":"resp_123","object":"response",\
"status":"completed","usage":{"input_tokens":13,"output_tokens":11,"total_tokens":24}}}

"""

CHAT_EXAMPLES: Final = Examples(
    {"In one piece": _CHAT, "Streamed": {**_CHAT, **_STREAM}},
    {
        "id": "chatcmpl-123",
        "object": "chat.completion",
        "created": _CREATED,
        "model": _MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": _HELLO, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _chat_usage(13, 11),
    },
    _CHAT_STREAM,
)
COMPLETION_EXAMPLES: Final = Examples(
    {
        "In one piece": {
            "model": _COMPLETION_MODEL,
            "prompt": "Once upon a time",
            "max_tokens": 50,
        }
    },
    {
        "id": "cmpl-123",
        "object": "text_completion",
        "created": _CREATED,
        "model": _COMPLETION_MODEL,
        "choices": [
            {
                "index": 0,
                "text": " there was a token.",
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _chat_usage(4, 5),
    },
    _COMPLETION_STREAM,
)
EMBEDDING_EXAMPLES: Final = Examples(
    {"One text": {"model": "text-embedding-3-small", "input": "The quick brown fox"}},
    {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.0123, -0.0456, 0.0789]}],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    },
)
RESPONSE_EXAMPLES: Final = Examples(
    {"In one piece": _RESPONSE, "Streamed": {**_RESPONSE, **_STREAM}},
    _FULL_RESPONSE,
    _RESPONSE_STREAM,
)
INPUT_TOKENS_EXAMPLES: Final = Examples(
    {"One text": {"model": _MODEL, "input": _GREETING}},
    {"object": "response.input_tokens", "input_tokens": 13},
)
MODERATION_EXAMPLES: Final = Examples(
    {"One text": {"model": "omni-moderation-latest", "input": "I want to hug you."}},
    {
        "id": "modr-123",
        "model": "omni-moderation-latest",
        "results": [
            {
                "flagged": False,
                "categories": {"harassment": False, "violence": False},
                "category_scores": {"harassment": 0.0001, "violence": 0.0001},
            }
        ],
    },
)
MODELS_EXAMPLES: Final = Examples(
    {}, {"object": "list", "data": [_model("gpt-5.4"), _model(_MODEL)]}
)
MODEL_EXAMPLES: Final = Examples({}, _model(_MODEL), parameters={"model": _MODEL})
