"""The ids in a JSON text of any length, which comes in pieces and is never kept.

A text that is short enough is parsed instead. Here only brackets, keys and short strings are looked
at, so that a picture in it costs one byte search. It must never take a word of a text for an id:
where a string is, not what is around it, decides what it means. So a key in `metadata` is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import orjson

from tokenbalance.openai.json_text import compiled
from tokenbalance.openai.objects.found import ID_CHARS_MAX, described, is_id

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Sequence

    from tokenbalance.model import Json
    from tokenbalance.model.objects import Found
    from tokenbalance.openai.objects.places import Place

_TEXT: Final = compiled(rb'[^"\\]*+(?:\\.[^"\\]*+)*+')
_NEITHER: Final = compiled(rb'[^"{}\[\],]*+')
_TEXT_BYTES_MAX: Final = 8 * ID_CHARS_MAX
"""More than the longest id takes, whatever is escaped in it."""
_QUOTE, _COMMA, _BACKSLASH = b'",\\'
_BEGINS_OBJECT, _ENDS_OBJECT, _BEGINS_LIST, _ENDS_LIST = b"{}[]"
_CONTAINER: Final = "container_id"
_IN_LIST: Final = "[]"


class IdScanner:
    """Reads one JSON text piece by piece."""

    __slots__ = ("_ends", "_held", "_keys_next", "_places", "_rest", "_skips", "_steps", "_whole")

    def __init__(self, places: Sequence[Place], whole: str | None = None) -> None:
        """Begin.

        Args:
            places: where ids are.
            whole: the object of which what is found may be part; the text's own, if None.

        """
        self._places: dict[tuple[str, ...], list[Place]] = {}
        for place in places:
            self._places.setdefault(place.steps, []).append(place)
        self._ends = frozenset(place.steps[-1] for place in places) | {_CONTAINER}
        self._whole = whole
        self._rest = b""
        # Within a string that is too long to be an id or a key.
        self._skips = False
        # The way to the value that comes next, and whether that is a key.
        self._steps: list[str] = []
        self._keys_next = False
        # What was found in each open object and may be described by what follows.
        self._held: list[dict[str, Json] | None] = []

    @property
    def unfinished(self) -> int:
        """How many bytes at the end of what was given may be a part of an id."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[Found]:
        """Take the next bytes; return what they name."""
        source, self._rest = self._rest + data, b""
        found: list[Found] = []
        at, end = (self._skip(source, 0) if self._skips else 0), len(source)
        while at < end:
            byte = source[at]
            if byte == _QUOTE:
                stop = _end_of_text(source, at + 1)
                if stop == end or source[stop] == _BACKSLASH:
                    self._break_off(source, at, stop)
                    break
                found += self._take(source[at + 1 : stop])
                at = stop + 1
            elif byte in {_BEGINS_OBJECT, _BEGINS_LIST}:
                self._open(is_object=byte == _BEGINS_OBJECT)
                at += 1
            elif byte in {_ENDS_OBJECT, _ENDS_LIST}:
                self._close()
                at += 1
            elif byte == _COMMA:
                self._keys_next = bool(self._steps) and self._steps[-1] != _IN_LIST
                at += 1
            else:
                at = _end_of(_NEITHER, source, at)
        return found

    def _break_off(self, source: bytes, at: int, stop: int) -> None:
        """Keep the beginning of a string for the next bytes, unless it is too long to matter."""
        self._skips = stop - at > _TEXT_BYTES_MAX
        self._rest = source[stop:] if self._skips else source[at:]

    def _skip(self, source: bytes, at: int) -> int:
        """Go on behind the string that was begun, if it ends here."""
        stop = _end_of_text(source, at)
        if stop == len(source) or source[stop] == _BACKSLASH:
            self._rest = source[stop:]
            return len(source)
        self._skips = False
        # It was no id; as a key it is like no other.
        if self._keys_next:
            self._steps[-1] = ""
            self._keys_next = False
        return stop + 1

    def _open(self, *, is_object: bool) -> None:
        self._steps.append("" if is_object else _IN_LIST)
        self._held.append(None)
        self._keys_next = is_object

    def _close(self) -> None:
        if self._steps:
            _ = self._steps.pop()
            _ = self._held.pop()
        self._keys_next = False

    def _take(self, raw: bytes) -> Iterator[Found]:
        if not self._steps:
            return
        if self._keys_next:
            key = _text_of(raw) if len(raw) <= _TEXT_BYTES_MAX else ""
            # What marks a list is no key.
            self._steps[-1] = "" if key == _IN_LIST else key
            self._keys_next = False
            return
        last = self._steps[-1]
        if last in self._ends and len(raw) <= _TEXT_BYTES_MAX:
            yield from self._note(last, _text_of(raw))

    def _note(self, last: str, text: str) -> Iterator[Found]:
        steps = tuple(self._steps)
        held = self._held[-1]
        if held is None:
            held = self._held[-1] = {}
        held[last] = text
        if last == _CONTAINER:
            # A file that was named before is one of this container.
            file = (*steps[:-1], "file_id")
            yield from self._named(file, held.get("file_id"), held)
        yield from self._named(steps, text, held)
        if steps == ("id",) and self._whole is None:
            self._whole = text

    def _named(
        self, steps: tuple[str, ...], name: Json, holder: dict[str, Json]
    ) -> Iterator[Found]:
        if is_id(name):
            for place in self._places.get(steps, ()):
                whole = None if steps == ("id",) else self._whole
                yield described(place, name, holder, whole, None)


def _end_of_text(source: bytes, at: int) -> int:
    """Where a string ends: at its quote, or at what is not known to be whole yet."""
    quote = source.find(b'"', at)
    stop = len(source) if quote < 0 else quote
    return stop if source.find(b"\\", at, stop) < 0 else _end_of(_TEXT, source, at)


def _end_of(pattern: re.Pattern[bytes], source: bytes, at: int) -> int:
    found = pattern.match(source, at)
    return at if found is None else found.end()


def _text_of(raw: bytes) -> str:
    try:
        return cast("str", orjson.loads(b'"%b"' % raw))
    except orjson.JSONDecodeError:
        return ""
