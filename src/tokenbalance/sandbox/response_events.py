"""The events of a response, drawn from its final document.

A stream and the same stream resumed are drawn from one document, so that they have the same events
with the same numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.sandbox.generated import spell
from tokenbalance.sandbox.replies import event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tokenbalance.model import Document, Json

_STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "web_search_call": ("in_progress", "searching", "completed"),
    "file_search_call": ("in_progress", "searching", "completed"),
    "code_interpreter_call": ("in_progress", "interpreting", "completed"),
    "image_generation_call": ("in_progress", "generating", "completed"),
}
"""What is told of each call, in order."""
_BEGUN: Final[Mapping[str, Document]] = {
    "code_interpreter_call": {"code": "", "outputs": None},
    "file_search_call": {"queries": [], "results": None},
    "function_call": {"arguments": ""},
    "message": {"content": []},
}
"""Members of an item that has just begun, by its type."""
_KEPT: Final = ("id", "type", "call_id", "container_id", "name", "role")


def events_of(ended: Document) -> tuple[bytes, ...]:
    """Return every event of a response, numbered in order."""
    begun: Document = {
        **{name: value for name, value in ended.items() if name != "tool_usage"},
        "status": "in_progress",
        "completed_at": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
    }
    documents: list[Document] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        *_output_events(ended),
        {"type": f"response.{ended['status']}", "response": ended},
    ]
    return tuple(
        event({**one, "sequence_number": number}, str(one["type"]))
        for number, one in enumerate(documents)
    )


def _output_events(ended: Document) -> Iterator[Document]:
    output, model = ended["output"], str(ended["model"])
    for index, item in enumerate(output if isinstance(output, list) else []):
        if isinstance(item, dict):
            place: Document = {"output_index": index}
            yield {"type": "response.output_item.added", "item": _begun(item), **place}
            yield from _inner_events(item, model, {"item_id": item["id"], **place})
            yield {"type": "response.output_item.done", "item": item, **place}


def _begun(item: Document) -> Document:
    kept = {name: item[name] for name in _KEPT if name in item}
    return {**kept, "status": "in_progress", **_BEGUN.get(str(item["type"]), {})}


def _inner_events(item: Document, model: str, place: Document) -> Iterator[Document]:
    match item["type"]:
        case "message":
            yield from _message_events(item, model, place)
        case "function_call":
            text = item["arguments"]
            yield from _text_events("function_call_arguments", "arguments", text, model, place)
        case kind:
            yield from _call_events(str(kind), item, model, place)


def _call_events(kind: str, item: Document, model: str, place: Document) -> Iterator[Document]:
    for step in _STEPS.get(kind, ()):
        if step == "interpreting":
            yield from _text_events(f"{kind}_code", "code", item["code"], model, place)
        yield {"type": f"response.{kind}.{step}", **place}


def _message_events(item: Document, model: str, place: Document) -> Iterator[Document]:
    content = item["content"]
    for index, part in enumerate(content if isinstance(content, list) else []):
        if not isinstance(part, dict):
            continue
        at: Document = {**place, "content_index": index}
        empty: Document = {**part, "text": "", "annotations": []}
        yield {"type": "response.content_part.added", "part": empty, **at}
        told: Document = {**at, "logprobs": []}
        *deltas, done = _text_events("output_text", "text", part["text"], model, told)
        yield from deltas
        annotations = part["annotations"]
        for number, annotation in enumerate(annotations if isinstance(annotations, list) else []):
            yield {
                "type": "response.output_text.annotation.added",
                "annotation_index": number,
                "annotation": annotation,
                **at,
            }
        yield done
        yield {"type": "response.content_part.done", "part": part, **at}


def _text_events(
    name: str, member: str, text: Json, model: str, place: Document
) -> Iterator[Document]:
    """Yield a text piece by piece, then as a whole."""
    for piece in spell(str(text), model, None).pieces:
        yield {"type": f"response.{name}.delta", "delta": piece, **place}
    yield {"type": f"response.{name}.done", member: text, **place}
