"""`/images/generations` and `/images/edits`: drawn pictures, with the usage of gpt-image."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.sandbox.counting import count_text
from tokenbalance.sandbox.faults import MODEL_WITHOUT_USAGE, ApiError, no_such_object
from tokenbalance.sandbox.fields import Fields, invalid_value, missing
from tokenbalance.sandbox.files import example_file
from tokenbalance.sandbox.pictures import png, svg
from tokenbalance.sandbox.replies import Stream, Whole, event, now

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tokenbalance.model import Document, Json
    from tokenbalance.sandbox.calls import Call, Endpoint
    from tokenbalance.sandbox.replies import Reply

DEFAULT_MODEL: Final = "gpt-image-1"
IMAGES_MAX: Final = 10
PARTIALS_MAX: Final = 3
PARTIAL_TOKENS: Final = 100
INPUT_IMAGE_TOKENS: Final = 194
"""Of one image of 1024 x 1024: 65, and 129 for its only tile."""

_SIZE: Final = re.compile(r"(\d{2,4})x(\d{2,4})")
_AUTO_SIZE: Final = (1024, 1024)
_QUALITIES: Final = ("low", "medium", "high", "xhigh", "max", "auto", "standard", "hd")
_OUTPUT_TOKENS: Final[Mapping[str, Mapping[str, int]]] = {
    "low": {"square": 272, "tall": 408, "wide": 400},
    "medium": {"square": 1056, "tall": 1584, "wide": 1568},
    "high": {"square": 4160, "tall": 6240, "wide": 6208},
}
"""What gpt-image-1 uses by quality and shape, by OpenAI's guide."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What is asked for."""

    model: str
    prompt: str
    width: int
    height: int
    quality: str
    count: int
    partials: int
    format: str
    background: str
    inputs: int
    """Images of the request."""
    edits: bool

    @property
    def drawn(self) -> str:
        """One of the qualities of the table of tokens."""
        return self.quality if self.quality in _OUTPUT_TOKENS else "medium"

    @property
    def is_dall_e(self) -> bool:
        return self.model.startswith("dall-e")


def _generate(call: Call) -> Reply:
    return _fulfil(call, _order(call.fields, inputs=0))


def _edit(call: Call) -> Reply:
    inputs = len(call.files.get("image", ())) + len(_named_images(call))
    if not inputs:
        raise missing("image")
    return _fulfil(call, _order(call.fields, inputs=inputs, edits=True))


def _named_images(call: Call) -> list[Document]:
    """Return the images of a JSON body, which must exist."""
    images = [image.document for image in call.fields.objects("images")]
    for image in images:
        name = image.get("file_id")
        known = isinstance(name, str) and call.memory.found_or_example("file", name, example_file)
        if isinstance(name, str) and not known:
            raise no_such_object("file", name)
    return images


def tool_image(tool: Fields, prompt: str) -> tuple[Document, Document]:
    """Draw one image as the tool of a response; returns its description and its usage."""
    order = _order(Fields({**tool.document, "prompt": prompt}, tool.path), inputs=0)
    return {**_described(order), "result": _drawn(order, "0")}, _usage(order, 1)


def _order(fields: Fields, inputs: int, *, edits: bool = False) -> _Order:
    quality = fields.text("quality") or "auto"
    if quality not in _QUALITIES:
        raise invalid_value("quality", quality, _QUALITIES)
    width, height = _size(fields.text("size") or "auto")
    return _Order(
        fields.text("model") or DEFAULT_MODEL,
        fields.required_text("prompt"),
        width,
        height,
        quality,
        fields.integer("n", 1, IMAGES_MAX) or 1,
        fields.integer("partial_images", 0, PARTIALS_MAX) or 0,
        fields.text("output_format") or "png",
        fields.text("background") or "opaque",
        inputs,
        edits,
    )


def _size(text: str) -> tuple[int, int]:
    if text == "auto":
        return _AUTO_SIZE
    found = _SIZE.fullmatch(text)
    if found is None:
        message = f"Invalid value: '{text[:20]}'. A size is WIDTHxHEIGHT, or 'auto'."
        raise ApiError(message, param="size", code="invalid_value")
    return int(found[1]), int(found[2])


def _fulfil(call: Call, order: _Order) -> Reply:
    if call.fields.flag("stream"):
        return Stream(tuple(_events(order)))
    data: list[Json] = [_image(call, order, index) for index in range(order.count)]
    document: Document = {"created": now(), "data": data}
    if order.is_dall_e:
        return Whole(document)
    document |= _described(order)
    if order.model != MODEL_WITHOUT_USAGE:
        document["usage"] = _usage(order, order.count)
    if order.format == "svg":
        document["svg_usage"] = _svg_usage(call, order)
    return Whole(document)


def _described(order: _Order) -> Document:
    return {
        "background": "transparent" if order.background == "transparent" else "opaque",
        "output_format": order.format,
        "quality": order.drawn,
        "size": f"{order.width}x{order.height}",
    }


def _image(call: Call, order: _Order, index: int) -> Document:
    if order.is_dall_e and call.fields.text("response_format") != "b64_json":
        return {"url": f"https://images.example.com/{index}.png", "revised_prompt": order.prompt}
    return {"b64_json": _drawn(order, str(index))}


def _drawn(order: _Order, which: str) -> str:
    draw = svg if order.format == "svg" else png
    return b64encode(draw(f"{order.prompt} {which}", order.width, order.height)).decode()


def _output_tokens(order: _Order) -> int:
    shape = "square"
    if order.width != order.height:
        shape = "wide" if order.width > order.height else "tall"
    return _OUTPUT_TOKENS[order.drawn][shape]


def _usage(order: _Order, images: int, partials: int = 0) -> Document:
    text = count_text(order.prompt, "gpt-4o")
    seen = order.inputs * INPUT_IMAGE_TOKENS
    output = images * _output_tokens(order) + partials * PARTIAL_TOKENS
    return {
        "input_tokens": text + seen,
        "input_tokens_details": {"text_tokens": text, "image_tokens": seen},
        "output_tokens": output,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": output},
        "total_tokens": text + seen + output,
    }


def _svg_usage(call: Call, order: _Order) -> Document:
    model = call.fields.within("svg").text("model") or "gpt-5-mini"
    read, written = count_text(order.prompt, model), 64
    return {
        "model": model,
        "input_tokens": read,
        "output_tokens": written,
        "reasoning_tokens": 0,
        "total_tokens": read + written,
    }


def _events(order: _Order) -> Iterator[bytes]:
    kind = "image_edit" if order.edits else "image_generation"
    frame: Document = {
        "created_at": now(),
        "background": order.background,
        "output_format": order.format,
        "quality": order.drawn,
        "size": f"{order.width}x{order.height}",
    }
    for index in range(order.count):
        for partial in range(order.partials):
            document: Document = {
                **frame,
                "type": f"{kind}.partial_image",
                "partial_image_index": partial,
                "b64_json": _drawn(order, f"{index} {partial}"),
            }
            yield event(document, str(document["type"]))
        last: Document = {
            **frame,
            "type": f"{kind}.completed",
            "b64_json": _drawn(order, str(index)),
            "usage": _usage(order, 1, order.partials),
        }
        yield event(last, str(last["type"]))


IMAGES: Final[Mapping[str, Endpoint]] = {
    "POST /images/generations": _generate,
    "POST /images/edits": _edit,
}
