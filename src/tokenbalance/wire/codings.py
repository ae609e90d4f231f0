"""Decodes content codings, a bounded piece at a time: gzip, deflate, zstd and br.

Owns the decoders, and must never know where bytes come from. However small the coded bytes are, no
step may return much more than it was asked for, nor need more memory than the coding's own standard
allows.
"""

from __future__ import annotations

import math
import sys
import zlib
from typing import TYPE_CHECKING, Final, Protocol, cast

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd  # pyright: ignore[reportUnreachable] - types are 3.11's
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

TAKEN: Final = "gzip, deflate, zstd or br"
"""What can be decoded, for messages."""
IN_A_ROW_MAX: Final = 2

_GZIP_WINDOW: Final = zlib.MAX_WBITS | 16
_ZLIB_METHOD: Final = 8
"""Of the first byte's lower half. Some senders omit zlib's two bytes in front of deflate."""
# RFC 9659 allows 8 MiB; without a limit, a few bytes could make zstd reserve gigabytes.
_ZSTD_OPTIONS: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: 23}
_MEMBERS_MAX: Final = 16
"""In a row; otherwise any number of empty ones could be sent to waste CPU time."""
_STEP_BYTES: Final = 64 * 1024
"""Of input and of output, at once."""
# The package has no types, and those published for it describe an older version.
_BROTLI: Final = cast("Callable[[], _BrotliDecompressor]", brotli.Decompressor)
_BROTLI_ERROR: Final = cast("type[Exception]", brotli.error)
_FAULTS: Final = (zlib.error, zstd.ZstdError, _BROTLI_ERROR)


class BadCodingError(Exception):
    """The bytes are not in the declared coding, or end too early."""


class TooLongError(Exception):
    """The decoded bytes are longer than allowed."""


class _Inflater(Protocol):
    """zlib's decompression object, for which it exports no type."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def unconsumed_tail(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _BrotliDecompressor(Protocol):
    def is_finished(self) -> bool: ...

    def process(self, data: bytes, *, output_buffer_limit: int) -> bytes: ...


class Decoder(Protocol):
    """Decodes one coding, or several."""

    @property
    def is_whole(self) -> bool:
        """Whether the code has ended, and the bytes with it."""
        ...

    def decode(self, data: bytes, bytes_max: int) -> bytes:
        """Decode `data`, returning at most `bytes_max` bytes (of br, twice that).

        As long as something is returned, call again with `b""`; `b""` is returned when all the
        input is used up.

        Raises:
            BadCodingError: it is not in this coding.
            TooLongError: the bytes between two codings are more than allowed.

        """
        ...


def codings_of(values: Iterable[bytes]) -> tuple[bytes, ...] | None:
    """Read `Content-Encoding`, in the order in which they were applied.

    Args:
        values: of all fields of that name.

    Returns:
        None if they cannot be decoded here.

    """
    named = [name.strip().lower() for value in values for name in value.split(b",")]
    codings = tuple(name for name in named if name not in {b"", b"identity"})
    if len(codings) > IN_A_ROW_MAX or not all(name in _DECODERS for name in codings):
        return None
    return codings


def decoder_for(codings: Sequence[bytes], between_max: int | None = None) -> Decoder:
    """Make a decoder for these codings.

    Args:
        codings: at least one, as `codings_of` returns them.
        between_max: the most bytes, in all, between two of them; None: any number.

    """
    *others, last = codings
    decoder = _DECODERS[last]()
    for coding in reversed(others):
        decoder = _Twice(decoder, _DECODERS[coding](), between_max)
    return decoder


def decode(data: bytes, codings: Sequence[bytes], bytes_max: int) -> bytes:
    """Decode complete data.

    Raises:
        BadCodingError: it is not in these codings.
        TooLongError: it decodes to more than `bytes_max` bytes; never more than that was kept.

    """
    decoder = decoder_for(codings, bytes_max)
    pieces: list[bytes] = []
    rest = bytes_max
    for start in range(0, len(data), _STEP_BYTES):
        piece = decoder.decode(data[start : start + _STEP_BYTES], _STEP_BYTES)
        while piece:
            rest -= len(piece)
            if rest < 0:
                raise TooLongError
            pieces.append(piece)
            piece = decoder.decode(b"", _STEP_BYTES)
    if not decoder.is_whole:
        raise BadCodingError
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Member(Protocol):
    """One gzip member, zlib stream or zstd frame."""

    @property
    def has_ended(self) -> bool: ...

    def decode(self, data: bytes, bytes_max: int) -> tuple[bytes, bytes]:
        """Return what was decoded, and the input that is left."""
        ...


class _Members:
    """Decodes members of one kind that follow each other."""

    def __init__(self, begin: Callable[[bytes], _Member], members_max: int) -> None:
        self._begin: Callable[[bytes], _Member] = begin
        self._members_max: int = members_max
        self._begun: int = 0
        self._member: _Member | None = None
        self._rest: bytes = b""

    @property
    def is_whole(self) -> bool:
        return self._begun > 0 and self._member is None and not self._rest

    def decode(self, data: bytes, bytes_max: int) -> bytes:
        self._rest = self._rest + data if self._rest else data
        while self._rest or self._member is not None:
            member = self._member or self._next()
            try:
                decoded, self._rest = member.decode(self._rest, bytes_max)
            except _FAULTS as error:
                raise BadCodingError(type(error).__name__) from error
            self._member = None if member.has_ended else member
            if decoded or not self._rest:
                return decoded
        return b""

    def _next(self) -> _Member:
        if self._begun == self._members_max:
            msg = "too many members"
            raise BadCodingError(msg)
        self._begun += 1
        return self._begin(self._rest)


class _Inflated:
    """A gzip member, or a deflate stream."""

    def __init__(self, window: int) -> None:
        self._inflater: _Inflater = zlib.decompressobj(window)

    @property
    def has_ended(self) -> bool:
        return self._inflater.eof

    def decode(self, data: bytes, bytes_max: int) -> tuple[bytes, bytes]:
        decoded = self._inflater.decompress(data, bytes_max)
        return decoded, self._inflater.unused_data or self._inflater.unconsumed_tail


class _Frame:
    """A zstd frame."""

    def __init__(self) -> None:
        self._frame: zstd.ZstdDecompressor = zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)

    @property
    def has_ended(self) -> bool:
        return self._frame.eof

    def decode(self, data: bytes, bytes_max: int) -> tuple[bytes, bytes]:
        decoded = self._frame.decompress(data, bytes_max)
        return decoded, self._frame.unused_data if self._frame.eof else b""


class _Brotli:
    """Decodes br, whose buffer grows in steps of its own."""

    def __init__(self) -> None:
        self._decompressor: _BrotliDecompressor = _BROTLI()

    @property
    def is_whole(self) -> bool:
        return self._decompressor.is_finished()

    def decode(self, data: bytes, bytes_max: int) -> bytes:
        try:
            return self._decompressor.process(data, output_buffer_limit=bytes_max)
        except _FAULTS as error:
            raise BadCodingError(type(error).__name__) from error


class _Twice:
    """Decodes two codings, one inside the other."""

    def __init__(self, upper: Decoder, lower: Decoder, between_max: int | None) -> None:
        self._upper: Decoder = upper
        self._lower: Decoder = lower
        self._between: bytes = b""
        self._between_left: float = math.inf if between_max is None else between_max

    @property
    def is_whole(self) -> bool:
        return self._upper.is_whole and self._lower.is_whole

    def decode(self, data: bytes, bytes_max: int) -> bytes:
        while True:
            # The lower decoder comes first: `data` is only used once it has nothing left.
            decoded = self._lower.decode(self._between, bytes_max)
            self._between = b""
            if decoded:
                return decoded
            self._between = self._upper.decode(data, _STEP_BYTES)
            data = b""
            if not self._between:
                return b""
            self._between_left -= len(self._between)
            if self._between_left < 0:
                raise TooLongError


def _inflated(start: bytes) -> _Member:
    has_head = start[0] & 0x0F == _ZLIB_METHOD
    return _Inflated(zlib.MAX_WBITS if has_head else -zlib.MAX_WBITS)


def _gzip() -> Decoder:
    return _Members(lambda _: _Inflated(_GZIP_WINDOW), _MEMBERS_MAX)


_DECODERS: Final[dict[bytes, Callable[[], Decoder]]] = {
    b"br": _Brotli,
    b"deflate": lambda: _Members(_inflated, 1),
    b"gzip": _gzip,
    b"x-gzip": _gzip,
    b"zstd": lambda: _Members(lambda _: _Frame(), _MEMBERS_MAX),
}
