"""Which objects a response names, and what is kept of each.

Pure; what becomes of what is found is never decided here. Where ids are is said by `places`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias, TypeGuard

import orjson

from tokenbalance.model.objects import Found
from tokenbalance.openai.objects.places import Place, every_place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document, Json
    from tokenbalance.openai.objects.places import Places, Way
    from tokenbalance.openai.operation import Operation

    _Id: TypeAlias = tuple[Place, str, Document]
    """Where an id is, the id, and the object that has it."""

ID_CHARS_MAX: Final = 512
"""Longer ids are not kept; OpenAI's have fewer than a hundred characters."""
SNAPSHOT_BYTES_MAX: Final = 64 * 1024
_PARTS: Final = frozenset({
    "chat_message", "container_file", "item", "listed_item", "skill_version", "upload_part",
    "vector_store_file_batch",
})  # fmt: skip
"""Kinds that live and end with another object. A file is no part of what uses it."""
_UNLISTED: Final = _PARTS | {"chat_audio", "response"}
"""Kinds that no list of their own shows, so that no snapshot of them is needed."""
_KNOWN_BY: Final = {"vector_store_file": "file"}
"""Kinds whose ids are those of another kind."""


def kind_of_owner(kind: str) -> str:
    """The kind under which an object of a kind is owned: a file of a vector store is a file."""
    return _KNOWN_BY.get(kind, kind)


def listed_id(parent: str | None, name: str) -> str:
    """The id under which an item is known that a list of its parent shows.

    Whoever wrote an id into an item is not its owner: it leads to the item behind this parent, and
    cannot be taken by one account before another.
    """
    return f"{parent}/{name}"


def found_in(operation: Operation, document: Document, within: str | None = None) -> list[Found]:
    """Find all objects that a document names.

    Args:
        operation: whose response it is.
        document: of a response with a status of 2xx.
        within: the object that the path names, of which those in the response are part.

    """
    sought = every_place(operation)
    return [] if sought is None else found_at(sought.in_document, document, within)


def found_at(places: Places, document: Document, within: str | None) -> list[Found]:
    """Find the objects that a document names at some places; `within` as in `found_in`."""
    whole = part_of(document, within)
    return [
        described(
            place,
            name,
            holder,
            within if holder is document else whole,
            _snapshot(place.kind, holder) if place.steps[-1] == "id" else None,
        )
        for place, name, holder in _ids(places.way, document)
    ]


def found_in_event(places: Places, document: Document, within: str | None) -> list[Found]:
    """Find the objects that the data of an event names.

    Args:
        places: in events.
        document: the data.
        within: the response that the stream is, once that is known, or the object in the path.

    """
    response = document.get("response")
    whole = part_of(response, within) if isinstance(response, dict) else within
    return [
        described(place, name, holder, whole, None)
        for place, name, holder in _ids(places.way, document)
    ]


def whole(kind: str, name: str, document: Document) -> Found:
    """The object that a document is itself."""
    place = Place(kind, ("id",))
    return described(place, name, document, None, _snapshot(kind, document))


def is_id(value: Json) -> TypeGuard[str]:
    """Whether a value may be the id of an object."""
    return isinstance(value, str) and 0 < len(value) <= ID_CHARS_MAX


def described(
    place: Place, name: str, holder: Mapping[str, Json], whole: str | None, snapshot: str | None
) -> Found:
    """Describe an object by the member that has its id.

    Args:
        place: where the id is.
        name: the id.
        holder: the JSON object that has it.
        whole: what it is part of, if it is of a kind that is part of something.
        snapshot: the object as it is shown in lists.

    """
    kind = place.kind
    if kind in _KNOWN_BY:
        return Found(_KNOWN_BY[kind], name)
    if kind == "listed_item":
        return Found(kind, listed_id(whole, name), whole)
    if place.steps[-1] != "id":
        container = _text(holder.get("container_id"))
        if kind == "container_file":
            # A citation of a file that is in no container is one of a file.
            return Found(kind, name, container) if container else Found("file", name)
        return Found(kind, name, whole if kind in _PARTS else None)
    if kind == "response":
        # Its tokens are those of a model.
        snapshot = orjson.dumps({"model": _text(holder.get("model"))}).decode()
    return Found(
        kind,
        name,
        parent=whole if kind in _PARTS else None,
        state=_text(holder.get("status")),
        size=_number(holder.get("bytes", holder.get("usage_bytes"))),
        tokens=_tokens_of(holder),
        expires_at=_number(holder.get("expires_at")),
        snapshot=snapshot,
    )


def part_of(document: Document, within: str | None) -> str | None:
    """What the parts of a document belong to: items live with their conversation, if any."""
    conversation = document.get("conversation")
    named = conversation.get("id") if isinstance(conversation, dict) else None
    return within or _text(named) or _text(document.get("id"))


def _tokens_of(holder: Mapping[str, Json]) -> int | None:
    """The most that a later response reads of one; None where its usage does not say it."""
    usage = holder.get("usage")
    if not isinstance(usage, dict):
        return None
    items = holder.get("output")
    for item in items if isinstance(items, list) else ():
        # Another model has drawn it, but this one will read it.
        if isinstance(item, dict) and item.get("type") == "image_generation_call":
            return None
    return _number(usage.get("total_tokens"))


def _snapshot(kind: str, holder: Document) -> str | None:
    if kind in _UNLISTED or kind in _KNOWN_BY:
        return None
    dumped = orjson.dumps(holder)
    return dumped.decode() if len(dumped) <= SNAPSHOT_BYTES_MAX else None


def _ids(way: Way, document: Document) -> list[_Id]:
    """Return each id at the end of a way, with its place and the object that has it."""
    found: list[_Id] = []
    _follow(way, document, document, found)
    return found


def _follow(way: Way, value: Json, holder: Document, found: list[_Id]) -> None:
    if isinstance(value, dict):
        for step, further in way.steps.items():
            member = value.get(step)
            # Most members are missing or empty, and ids need no call of their own.
            if not member:
                continue
            if not isinstance(member, str):
                _follow(further, member, value, found)
            elif further.places and len(member) <= ID_CHARS_MAX:
                found += [(place, member, value) for place in further.places]
    elif isinstance(value, list):
        further = way.steps.get("[]")
        if further is not None:
            for element in value:
                _follow(further, element, holder, found)
    elif way.places and is_id(value):
        found += [(place, value, holder) for place in way.places]


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Json) -> int | None:
    return value if type(value) is int and 0 <= value < 2**62 else None
