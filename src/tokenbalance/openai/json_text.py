"""The source of a JSON document of any length, looked at and read in short pieces.

One call of C code on a long text keeps every other thread of the process waiting. So nothing here
gives C code more than PIECE_BYTES at once. What is read is checked by orjson, piece by piece: where
a piece is cut decides only how fast it is read, never what it means. An error never contains text
of the body.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Final, cast

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenbalance.model import Json

MAXIMUM_DEPTH: Final = 64
PIECE_BYTES: Final = 512 * 1024
"""A few milliseconds in any C code here."""
CHARACTERS_MAX: Final = 10 * 1024 * 1024
"""Of a text that is not ASCII: as many as OpenAI accepts of any prompt. The first wide character
makes all before it wider in memory, which is one call: 25 ms for so many."""
_GROWTH_CHARACTERS: Final = 1024 * 1024
_FIRST_BYTES: Final = 8 * 1024
"""The first piece of a list or object: so little is in vain if its first value is longer."""


_POSSESSIVE_SINCE: Final = 0x030B05F0
"""Python 3.11.5, the first in which possessive repeats are right."""


def compiled(pattern: bytes) -> re.Pattern[bytes]:
    """Compile a pattern in which `.` is any byte.

    Before Python 3.11.5, `re` loses its place where a possessive repeat ends within what it repeats
    (cpython#106052), so there `regex` takes its place. tiktoken needs that package anyway.
    """
    if sys.hexversion >= _POSSESSIVE_SINCE:
        return re.compile(pattern, re.DOTALL)
    compiling = cast("Callable[[bytes, int], re.Pattern[bytes]]", import_module("regex").compile)
    return compiling(pattern, int(re.DOTALL))


# All of it is possessive: a valid document is matched in one pass, whatever it contains.
SPACE: Final = rb"[ \t\r\n]*+"
STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SCALAR: Final = rb"[-+.0-9A-Za-z]++"


def _container() -> bytes:
    """Match an object or an array, as deep as a document may be, by its brackets alone."""
    pattern = b""
    for _ in range(MAXIMUM_DEPTH):
        within = rb'[^"\[\]{}]++|' + STRING + (rb"|" + pattern if pattern else b"")
        pattern = rb"[\[{](?:" + within + rb")*+[\]}]"
    return pattern


VALUE: Final = rb"(?:" + STRING + rb"|" + _SCALAR + rb"|" + _container() + rb")"
COLON: Final = SPACE + rb":" + SPACE
COMMA: Final = SPACE + rb"," + SPACE
_SPACES: Final = compiled(SPACE)
_A_VALUE: Final = compiled(VALUE)
_ITEMS: Final = compiled(rb"(?:" + VALUE + COMMA + rb")*+")
_MEMBERS: Final = compiled(rb"(?:" + STRING + COLON + VALUE + COMMA + rb")*+")
_CONTENTS: Final = compiled(rb'(?:[^"\[\]{}]++|' + STRING + rb"|" + _container() + rb")*+")
_NUMBERS_BEGIN: Final = frozenset(b"%c" % byte for byte in b"-0123456789")
_NO_NUMBERS: Final = (b'"', b"[", b"{")
_HIGH: Final = rb"\\u[dD][89abAB]"
_CHARACTERS: Final = compiled(
    rb'(?:[^"\\]++|' + _HIGH + rb"..\\u....|(?!" + _HIGH + rb")\\u....|\\[^u])*+"
)
"""Whole escape sequences only, and both of a pair of them."""


class NotJsonError(ValueError):
    """The text is not strict JSON in UTF-8."""

    reason: ClassVar[str] = "it is not valid JSON in UTF-8"
    """Of the refusal; it says nothing of what the text contains."""


class TooDeepError(NotJsonError):
    """It is nested deeper than MAXIMUM_DEPTH levels."""

    reason: ClassVar[str] = f"it is nested deeper than {MAXIMUM_DEPTH} levels"


class LongTextError(NotJsonError):
    """A text in it is longer than CHARACTERS_MAX, and not ASCII."""

    reason: ClassVar[str] = (
        f"a text in it has more than {CHARACTERS_MAX} characters, not all of which are ASCII"
    )


def loaded(source: bytes) -> Json:
    """Return what `orjson.loads` does; of a long source, in many short calls of it.

    Raises:
        NotJsonError: orjson would not accept it; or it is deeper, or a text longer, than here.

    """
    try:
        if len(source) <= PIECE_BYTES:
            return _load(source)
        reader = _Reader(source)
        value = reader.value(1)
    except orjson.JSONDecodeError:
        raise NotJsonError from None
    if reader.at < len(source):
        raise NotJsonError
    return value


class _Reader:
    """Reads a source from its beginning."""

    __slots__ = ("_source", "at")

    def __init__(self, source: bytes) -> None:
        self._source: bytes = source
        self.at: int = after_space(source, 0)
        """The byte that is read next; never a blank between tokens."""

    def value(self, depth: int) -> Json:
        """Read one value, however long."""
        found = _A_VALUE.match(self._source, self.at, self.at + _FIRST_BYTES)
        if found is not None and found.end() < self.at + _FIRST_BYTES:
            self._go(found.end())
            return _load(found.group())
        if self._source[self.at : self.at + 1] == b'"':
            return self._text()
        if depth > MAXIMUM_DEPTH:
            raise TooDeepError
        if self._takes(b"{"):
            return self._object(depth)
        self._require(b"[")
        return self._array(depth)

    def _array(self, depth: int) -> list[Json]:
        items: list[Json] = []
        if self._takes(b"]"):
            return items
        size = _FIRST_BYTES
        while True:
            run = self._numbers(size) or self._run(_ITEMS, size)
            if run:
                items += cast("list[Json]", _load(b"[%b]" % run))
                size = min(2 * size, PIECE_BYTES)
                continue
            items.append(self.value(depth + 1))
            if self._takes(b"]"):
                return items
            self._require(b",")
            size = _FIRST_BYTES

    def _object(self, depth: int) -> dict[str, Json]:
        fields: dict[str, Json] = {}
        if self._takes(b"}"):
            return fields
        size = _FIRST_BYTES
        while True:
            run = self._run(_MEMBERS, size)
            if run:
                fields |= cast("dict[str, Json]", _load(b"{%b}" % run))
                size = min(2 * size, PIECE_BYTES)
                continue
            key = self._text()
            self._require(b":")
            fields[key] = self.value(depth + 1)
            if self._takes(b"}"):
                return fields
            self._require(b",")
            size = _FIRST_BYTES

    def _numbers(self, size: int) -> bytes:
        """Take items without strings, lists and objects as `_run` does, without a pattern."""
        source, at = self._source, self.at
        if source[at : at + 1] not in _NUMBERS_BEGIN:
            return b""
        end = source.find(b"]", at, at + size)
        comma = source.rfind(b",", at, at + size if end < 0 else end)
        run = source[at : max(comma, at)]
        if any(run.find(byte) >= 0 for byte in _NO_NUMBERS):
            return b""
        if run:
            self._go(comma + 1)
        return run

    def _run(self, pattern: re.Pattern[bytes], size: int) -> bytes:
        """Take the items or members that end within `size` bytes, but for the last comma."""
        found = pattern.match(self._source, self.at, self.at + size)
        if found is None or found.end() == self.at:
            return b""
        run = self._source[self.at : self._source.rfind(b",", self.at, found.end())]
        self._go(found.end())
        return run

    def _text(self) -> str:
        source, position = self._source, self.at + 1
        if source[self.at : position] != b'"':
            raise NotJsonError
        text, pieces = "", _Pieces()
        while source[position : position + 1] != b'"':
            end = _end_of_characters(source, position)
            pieces.add(cast("str", _load(b'"%b"' % source[position:end])))
            position = end
            if pieces.are_enough:
                # The text grows in place, while to join all pieces would be one long call.
                text += pieces.taken()
        text += pieces.taken()
        self._go(position + 1)
        return text

    def _takes(self, byte: bytes) -> bool:
        """Whether this byte is next; goes on behind it."""
        if self._source[self.at : self.at + 1] != byte:
            return False
        self._go(self.at + 1)
        return True

    def _require(self, byte: bytes) -> None:
        if not self._takes(byte):
            raise NotJsonError

    def _go(self, at: int) -> None:
        self.at = after_space(self._source, at)


class _Pieces:
    """Pieces that a text grows by next: more as it becomes longer, so that it grows rarely."""

    __slots__ = ("_before", "_characters", "_is_ascii", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._before: int = 0
        self._characters: int = 0
        self._is_ascii: bool = True

    def add(self, piece: str) -> None:
        """Add one.

        Raises:
            LongTextError: that makes a text that is too long.

        """
        self._pieces.append(piece)
        self._characters += len(piece)
        self._is_ascii = self._is_ascii and piece.isascii()
        if not self._is_ascii and self._before + self._characters > CHARACTERS_MAX:
            raise LongTextError

    @property
    def are_enough(self) -> bool:
        """Whether the text is to grow by them."""
        return self._characters >= min(self._before // 8, _GROWTH_CHARACTERS)

    def taken(self) -> str:
        """Join them, and begin anew."""
        joined = "".join(self._pieces)
        self._pieces.clear()
        self._before += self._characters
        self._characters = 0
        return joined


def _load(source: bytes) -> Json:
    return cast("Json", orjson.loads(source))


def _end_of_characters(source: bytes, start: int) -> int:
    """Where a piece of a text ends: before its closing quote, never within a character.

    Raises:
        NotJsonError: there is no whole character.

    """
    limit = start + PIECE_BYTES
    quote = source.find(b'"', start, limit)
    end = min(limit, len(source)) if quote < 0 else quote
    if source.find(b"\\", start, end) >= 0:
        found = _CHARACTERS.match(source, start, limit)
        end = start if found is None else found.end()
    if end == limit:
        while end > start and source[end : end + 1] and source[end] & 0xC0 == 0x80:  # noqa: PLR2004 - the bits of UTF-8 that mark what is not the first byte of a character
            end -= 1
    if end in {start, len(source)}:
        raise NotJsonError
    return end


def after_space(source: bytes, at: int) -> int:
    """Return where the blanks that begin at `at` end."""
    while True:
        found = _SPACES.match(source, at, at + PIECE_BYTES)
        end = at if found is None else found.end()
        if end < at + PIECE_BYTES:
            return end
        at = end


def after_value(source: bytes, at: int) -> int:
    """Return where the value ends that begins at `at`, in a document that is known to be valid."""
    depth = 0
    while True:
        byte = source[at : at + 1]
        if byte == b'"':
            at = after_text(source, at)
        elif byte in b"[{":
            depth, at = depth + 1, at + 1
        elif byte in b"]}":
            depth, at = depth - 1, at + 1
        elif not depth:
            found = _A_VALUE.match(source, at, at + PIECE_BYTES)
            at += 1 if found is None else len(found.group())
        if not depth:
            return at
        found = _CONTENTS.match(source, at, at + _FIRST_BYTES)
        at = at if found is None else found.end()


def after_text(source: bytes, at: int) -> int:
    """Return where the text ends that begins at `at`, in a document that is known to be valid."""
    at += 1
    while source[at : at + 1] != b'"':
        at = _end_of_characters(source, at)
    return at + 1
