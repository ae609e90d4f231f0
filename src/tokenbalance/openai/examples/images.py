"""Examples of operations on images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.openai.operation import Examples

if TYPE_CHECKING:
    from tokenbalance.model import Document

_MODEL: Final = "gpt-image-2.5-flare"
_CREATED: Final = 1893456000
_PIXEL: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
_USAGE: Final[Document] = {
    "input_tokens": 14,
    "input_tokens_details": {"text_tokens": 14, "image_tokens": 0},
    "output_tokens": 196,
    "output_tokens_details": {"text_tokens": 0, "image_tokens": 196},
    "total_tokens": 210,
}
_RESPONSE: Final[Document] = {
    "created": _CREATED,
    "background": "opaque",
    "data": [{"b64_json": _PIXEL}],
    "output_format": "png",
    "quality": "low",
    "size": "1024x1024",
    "usage": _USAGE,
}
_GENERATION: Final[Document] = {
    "model": _MODEL,
    "prompt": "A lighthouse at dusk, in the style of a woodcut",
    "size": "1024x1024",
    "quality": "low",
}
_EDIT: Final[Document] = {
    "model": _MODEL,
    "prompt": "Add a boat",
    "images": [{"image_url": f"data:image/png;base64,{_PIXEL}"}],
    "size": "1024x1024",
    "quality": "low",
}


def _stream(kind: str) -> str:
    about = (
        f'"created_at":{_CREATED},"size":"1024x1024","quality":"low","background":"opaque",'
        f'"output_format":"png","b64_json":"{_PIXEL}"'
    )
    return (
        f"event: {kind}.partial_image\n"
        f'data: {{"type":"{kind}.partial_image","partial_image_index":0,{about}}}\n\n'
        f"event: {kind}.completed\n"
        f'data: {{"type":"{kind}.completed",{about},"usage":{{"input_tokens":14,'
        '"input_tokens_details":{"text_tokens":14,"image_tokens":0},"output_tokens":296,'
        '"total_tokens":310}}\n\n'
    )


def _streamed(document: Document) -> Document:
    return {**document, "stream": True, "partial_images": 1}


IMAGE_EXAMPLES: Final = Examples(
    {"In one piece": _GENERATION, "Streamed": _streamed(_GENERATION)},
    _RESPONSE,
    _stream("image_generation"),
)
EDIT_EXAMPLES: Final = Examples(
    {"In one piece": _EDIT, "Streamed": _streamed(_EDIT)},
    _RESPONSE,
    _stream("image_edit"),
)
