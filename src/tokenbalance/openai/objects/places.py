"""Where a response names objects: the notation of the table's rows, and what of it a request needs.

    file:$.id                          the object that a document is
    item:$.output[].id                 one of those within it
    response:sse:response.created:$.response.id    in the data of that event
    chat_completion:sse:data:$.id      in the data of an event without a name

A stream names the objects of its final document before that: it sends the parts of that document
one by one, as `item`, `part`, `annotation` or `delta`. So the places of a document say where they
are in events, too.

What the upstream does not store is not looked for: the ids of a response with `store: false` are
nobody's. Containers and spoken output live anyway.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from tokenbalance.model.values import value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tokenbalance.model import Document, Json
    from tokenbalance.openai.operation import Operation


class Place(NamedTuple):
    """Where an id is."""

    kind: str
    steps: tuple[str, ...]
    """Members that lead to it; `[]` means each element."""
    is_own: bool = False
    """It names what the request makes, and not a part of it."""

    @property
    def word(self) -> bytes:
        """What a text with such an id contains."""
        *way, last = (step for step in self.steps if step != "[]")
        if last == "id" and way:
            last = way[0] if way[0] in _PARTS_OF_STREAMS else way[-1]
        return b'"%b"' % last.encode()


class Way(NamedTuple):
    """Where places lead on from a value."""

    places: tuple[Place, ...]
    """Those that end here: the value is an id."""
    steps: Mapping[str, Way]
    """By what leads on."""


@value
class Places:
    """Where ids are in one kind of text."""

    all: tuple[Place, ...]
    way: Way
    """The way to all of them."""
    words: tuple[bytes, ...]
    """A text without any of them has no id."""
    own: frozenset[str]
    """Kinds of objects that a request makes, rather than parts of them."""

    @classmethod
    def of(cls, places: Iterable[Place]) -> Places:
        """Take places, each once."""
        each = tuple(dict.fromkeys(places))
        words = tuple(dict.fromkeys(place.word for place in each))
        own = frozenset(place.kind for place in each if place.is_own)
        return cls(each, _way_to([(place.steps, place) for place in each]), words, own)


@value
class Sought:
    """What is looked for in the response to a request."""

    in_document: Places
    in_events: Places
    """In the data of an event."""


_DEFAULT_OF_STORE: Final[Mapping[str | None, bool]] = {"responses": True, "chat": False}
"""Whether the upstream stores the response of a request without `store`, where it may say so."""
_STORED: Final = frozenset({"chat_completion", "item", "listed_item", "response"})
"""Kinds of objects that live only where the response is stored."""
_THEMSELVES: Final = frozenset({"chat_completion", "response"})
"""Kinds of objects whose requests may ask that they be stored, or not."""
_SPOKEN: Final = frozenset({"chat_audio"})
"""Kinds of objects that only a response with spoken output has."""
_NONE: Final = frozenset[str]()
_EACH_ITEM: Final = ("output", "[]")
_EACH_PART: Final = (*_EACH_ITEM, "content", "[]")
_EACH_ANNOTATION: Final = (*_EACH_PART, "annotations", "[]")
_IN_STREAMS: Final = ((_EACH_ITEM, "item"), (_EACH_PART, "part"), (_EACH_ANNOTATION, "annotation"))
"""Parts of a response, each with the member that has it in an event."""
_PARTS_OF_STREAMS: Final = frozenset({"annotation", "item", "part", "response"})
_MESSAGE: Final = ("choices", "[]", "message")
_DELTA: Final = ("choices", "[]", "delta")
_LISTED: Final = "item:$.data[].id"
_SHELL: Final = {
    "container:$.output[].container_id": "container:$.output[].environment.container_id",
}
"""A call of the shell names its container one level deeper than one of the code interpreter."""


def sought_by(operation: Operation, request: Document) -> Sought | None:
    """Say what the response to a request may name; None: nothing that could be somebody's.

    Args:
        operation: its row says where.
        request: the document that was sent; empty where there was none.

    """
    place = operation.family.place
    default = _DEFAULT_OF_STORE.get(place)
    if default is None:
        carried = place == "conversation" and _carries_ids(request.get("items"))
        return _sought(operation, stored=True, spoken=True, carried=carried)
    stored = request.get("store")
    return _sought(
        operation,
        stored=default if stored is None else bool(stored),
        spoken=place != "chat" or _is_spoken(request),
    )


@lru_cache(maxsize=1024)
def unstored(operation: Operation) -> Mapping[str, Json]:
    """Members to set in a document so that the upstream stores nothing of its response."""
    kinds = {spec.partition(":")[0] for spec in operation.creates}
    is_asked = operation.family.place in _DEFAULT_OF_STORE and not kinds.isdisjoint(_THEMSELVES)
    return {"store": False} if is_asked else {}


def every_place(operation: Operation) -> Sought | None:
    """Say what the responses of an operation may name, whatever was asked for."""
    return _sought(operation, stored=True, spoken=True)


def _carries_ids(items: Json) -> bool:
    """Whether a client has named an item itself, so that its id says nothing of its owner."""
    return not isinstance(items, list) or any(
        not isinstance(item, dict) or item.get("id") is not None for item in items
    )


def _is_spoken(request: Document) -> bool:
    modalities = request.get("modalities")
    return bool(request.get("audio")) or (isinstance(modalities, list) and "audio" in modalities)


@lru_cache(maxsize=1024)
def _sought(
    operation: Operation, *, stored: bool, spoken: bool, carried: bool = False
) -> Sought | None:
    dead = (_NONE if stored else _STORED) | (_NONE if spoken else _SPOKEN)
    specs = operation.creates
    specs = (*specs, *(_SHELL[spec] for spec in specs if spec in _SHELL))
    if carried:
        specs = tuple(f"listed_{spec}" if spec == _LISTED else spec for spec in specs)
    read = [(is_event, place) for is_event, place in map(_read, specs) if place.kind not in dead]
    places = [place for is_event, place in read if not is_event]
    events = [place for is_event, place in read if is_event]
    events += [each for place in places for each in _in_events(place)]
    return Sought(Places.of(places), Places.of(events)) if read else None


def _read(spec: str) -> tuple[bool, Place]:
    """Read one place; says whether it is in an event."""
    kind, *event, path = spec.split(":")
    steps = tuple(path.removeprefix("$.").replace("[]", ".[]").split("."))
    return bool(event), Place(kind, steps, is_own=bool(event) or steps == ("id",))


def _in_events(place: Place) -> Iterator[Place]:
    """Where a stream names what its document names."""
    steps = place.steps
    if steps[:1] == _EACH_ITEM[:1]:
        yield Place(place.kind, ("response", *steps))
    for way, member in _IN_STREAMS:
        if steps[: len(way)] == way:
            yield Place(place.kind, (member, *steps[len(way) :]))
    if steps[: len(_MESSAGE)] == _MESSAGE:
        yield Place(place.kind, (*_DELTA, *steps[len(_MESSAGE) :]))


def _way_to(ends: list[tuple[tuple[str, ...], Place]]) -> Way:
    """Make one way of the steps to several places."""
    firsts = dict.fromkeys(steps[0] for steps, _ in ends if steps)
    return Way(
        tuple(place for steps, place in ends if not steps),
        {
            first: _way_to([(steps[1:], place) for steps, place in ends if steps[:1] == (first,)])
            for first in firsts
        },
    )
