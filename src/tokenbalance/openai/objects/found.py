"""Which objects a response names: the ids at the places that the operation's row says.

Owns the notation of those places (`kind:$.a.b[].c`) and what is kept of an object. Pure; what
becomes of what is found is never decided here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from tokenbalance.model.objects import Found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Document, Json
    from tokenbalance.openai.operation import Operation

ID_CHARS_MAX: Final = 512
"""Longer ids are not kept; OpenAI's have fewer than a hundred characters."""
SNAPSHOT_BYTES_MAX: Final = 64 * 1024
_UNLISTED: Final = frozenset({"chat_audio", "container_file", "item", "response", "upload_part"})
"""Kinds that no list of their own shows, so that no snapshot of them is needed."""
_WHOLE: Final = ("id",)


class _Place(NamedTuple):
    kind: str
    event: str | None
    """The type of the event whose data it is in; None: a document."""
    steps: tuple[str, ...]
    """Members that lead to the id; `[]` means each element."""


def found_in(operation: Operation, document: Document, within: str | None = None) -> list[Found]:
    """Find the objects that a document names.

    Args:
        operation: whose response it is.
        document: of a response with a status of 2xx.
        within: the object that the path names, of which those in the response are part.

    """
    found: list[Found] = []
    for spec in operation.creates:
        place = _place(spec)
        if place.event is None:
            found += _at(place, document, within)
    return found


def _at(place: _Place, document: Document, within: str | None) -> Iterator[Found]:
    top = document.get("id")
    for holder, value in _walk(document, place.steps):
        if not isinstance(value, str) or not 0 < len(value) <= ID_CHARS_MAX:
            continue
        if place.steps == _WHOLE:
            yield whole(place.kind, value, document, within)
        else:
            container = holder.get("container_id")
            parent = container if place.kind == "container_file" else within or top
            yield Found(place.kind, value, parent if isinstance(parent, str) else None)


def whole(kind: str, name: str, document: Document, within: str | None = None) -> Found:
    """The object that the document itself is."""
    usage = document.get("usage")
    snapshot = None
    if kind not in _UNLISTED:
        dumped = orjson.dumps(document)
        snapshot = dumped.decode() if len(dumped) <= SNAPSHOT_BYTES_MAX else None
    return Found(
        kind,
        name,
        parent=within,
        state=_text(document.get("status")),
        size=_number(document.get("bytes", document.get("usage_bytes"))),
        tokens=_number(usage.get("total_tokens")) if isinstance(usage, dict) else None,
        expires_at=_number(document.get("expires_at")),
        snapshot=snapshot,
    )


def _walk(holder: Json, steps: tuple[str, ...]) -> Iterator[tuple[Document, Json]]:
    """Yield each value at a place, with the object that has it."""
    if not isinstance(holder, dict):
        return
    value = holder.get(steps[0])
    rest = steps[1:]
    if not rest:
        yield holder, value
    elif rest[0] != "[]":
        yield from _walk(value, rest)
    elif isinstance(value, list):
        for element in value:
            if rest[1:]:
                yield from _walk(element, rest[1:])
            else:
                yield holder, element


@lru_cache(maxsize=512)
def _place(spec: str) -> _Place:
    kind, *event, path = spec.split(":")
    steps = path.removeprefix("$.").replace("[]", ".[]").split(".")
    return _Place(kind, event[-1] if event else None, tuple(steps))


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Json) -> int | None:
    return value if type(value) is int and 0 <= value < 2**62 else None
