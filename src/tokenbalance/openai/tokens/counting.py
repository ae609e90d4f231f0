"""Text to tokens: the exact count, and bounds by bytes, on both sides, that need no counting.

A count is never below what tiktoken says of the whole text, and never an exception: what cannot
be counted safely is bounded by its bytes, since no token is shorter than one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenbalance.openai.tokens.vocabularies import LONGEST_TOKEN_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import tiktoken

Measure: TypeAlias = Callable[[str], int]
"""A ceiling of the tokens of a text: `byte_bound`, or `count_tokens` of one encoding."""

PIECE_CHARACTERS: Final = 64 * 1024
"""Longer texts make tiktoken slow, and a long piece may make it fail with a BaseException."""
_SEARCH_CHARACTERS: Final = 4096
_OURS: Final = (Exception, KeyboardInterrupt, SystemExit, GeneratorExit)
"""Errors that must not be hidden: those of the interpreter and of Python code."""
_SEPARATE: Final = frozenset("PSZ")
"""General categories that neither words nor numbers of a vocabulary's pattern contain."""


def byte_bound(text: str) -> int:
    """The UTF-8 bytes of `text`: at least as many as its tokens in any byte vocabulary."""
    if text.isascii():
        return len(text)
    if len(text) <= PIECE_CHARACTERS:
        return len(text.encode())
    pieces = range(0, len(text), PIECE_CHARACTERS)
    return sum(len(text[start : start + PIECE_CHARACTERS].encode()) for start in pieces)


def count_tokens(encoding: tiktoken.Encoding, text: str) -> int:
    """The tokens of `text`, with special tokens read as plain text; more only in the cases below.

    A text longer than `PIECE_CHARACTERS` is cut where both vocabularies' patterns are certain to
    end one match and begin the next, so that the pieces' tokens are those of the whole. A piece
    whose end offers no such place, and one that makes tiktoken fail, counts as its bytes.
    """
    if len(text) <= PIECE_CHARACTERS:
        return _count_piece(encoding, text)
    return sum(tokens for tokens, _ in _counted_pieces(encoding, text))


def least_tokens(vocabulary: str, text: str) -> int:
    """The fewest tokens of the named vocabulary that so many bytes can be: cheap, never too many.

    The tokens of a text are its bytes, cut; none has more bytes than the longest.
    """
    return -(-byte_bound(text) // LONGEST_TOKEN_BYTES[vocabulary])


class LimitedCount:
    """A `Measure` of several texts that stops counting when they have more than `most` tokens.

    From there on it returns the fewest tokens that a text can have, so that a rule still returns a
    number, which is not too high. It also stops when nobody wants the count any more.
    """

    def __init__(
        self,
        encoding: tiktoken.Encoding,
        most: float,
        is_given_up: Callable[[], bool] | None = None,
    ) -> None:
        self._encoding = encoding
        self._left = most
        self._is_given_up = is_given_up

    @property
    def stopped(self) -> bool:
        """Whether it has stopped, so that what was returned may be too low."""
        return self._left < 0 or (self._is_given_up is not None and self._is_given_up())

    def __call__(self, text: str) -> int:
        """The tokens of `text`, or fewer once it has stopped."""
        if self.stopped:
            return least_tokens(self._encoding.name, text)
        total = 0
        for tokens, end in _counted_pieces(self._encoding, text):
            total += tokens
            self._left -= tokens
            if self.stopped:
                return total + least_tokens(self._encoding.name, text[end:])
        return total


def _counted_pieces(encoding: tiktoken.Encoding, text: str) -> Iterator[tuple[int, int]]:
    """The tokens of each piece, and its end."""
    for start, end, is_certain in _pieces(text):
        piece = text[start:end]
        yield _count_piece(encoding, piece) if is_certain else byte_bound(piece), end


def _count_piece(encoding: tiktoken.Encoding, piece: str) -> int:
    try:
        # A list, not an array: the array would need numpy for the sake of its length.
        return len(encoding.encode_ordinary(piece))
    except _OURS:
        raise
    except BaseException:  # noqa: BLE001 - what its native code raises has no importable class
        return byte_bound(piece)


def _pieces(text: str) -> Iterator[tuple[int, int, bool]]:
    """Start and end of each piece, and whether its tokens are certain to be the whole's."""
    start = 0
    begins_certain = True
    while start < len(text):
        end, ends_certain = _cut(text, start)
        yield start, end, begins_certain and ends_certain
        start, begins_certain = end, ends_certain


def _cut(text: str, start: int) -> tuple[int, bool]:
    """Where the piece that begins at `start` ends, and whether a match is certain to end there."""
    end = start + PIECE_CHARACTERS
    if end >= len(text):
        return len(text), True
    for position in range(end, end - _SEARCH_CHARACTERS, -1):
        if _is_boundary(text[position - 1], text[position]):
            return position, True
    return end, False


def _is_boundary(before: str, after: str) -> bool:
    """Whether every match that holds `before` ends with it, `after` following.

    In both patterns a match that has taken a letter goes on with letters, marks and contractions
    only, and one that has taken a digit with digits only; neither looks further ahead.
    """
    if before.isalpha():
        return after.isdecimal() or _is_separate(after)
    return before.isdecimal() and (after.isalpha() or _is_separate(after))


def _is_separate(character: str) -> bool:
    if character in "\r\n\t":
        return True
    return character != "'" and unicodedata.category(character)[0] in _SEPARATE
