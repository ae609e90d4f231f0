"""A body that the upstream compressed although it was asked not to, as it was before.

It must never give more at once than fits in memory, however small the compressed bytes are.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from tokenbalance.upstream.faults import UpstreamBroke

if TYPE_CHECKING:
    from typing import Protocol

    from tokenbalance.upstream.client import Answer

    class _Decoder(Protocol):
        """What zlib gives and does not name."""

        @property
        def unconsumed_tail(self) -> bytes: ...

        def decompress(self, data: bytes, max_length: int, /) -> bytes: ...

        def flush(self) -> bytes: ...


DECODABLE: Final = frozenset({b"gzip", b"x-gzip", b"deflate"})
DECODED_BYTES_MAX: Final = 256 * 1024
"""Of one read."""

_GZIP: Final = zlib.MAX_WBITS | 16
_RAW_DEFLATE: Final = -zlib.MAX_WBITS
_ZLIB_METHOD: Final = 8
"""Of the first byte's lower half. Some send deflate without zlib's two bytes in front of it."""


class DecodedBody:
    """Decodes what an answer's body gives."""

    def __init__(self, answer: Answer, coding: bytes) -> None:
        self._answer: Answer = answer
        self._is_gzip: bool = coding != b"deflate"
        self._decoder: _Decoder | None = None
        self._rest: bytes = b""

    async def read(self) -> bytes:
        """Give what has arrived since, decoded; `b""` at the end.

        Raises:
            UpstreamBroke: it ended early, or is not what it is said to be.

        """
        while True:
            decoded = self._decode(self._rest) if self._rest else b""
            if decoded:
                return decoded
            self._rest = await self._answer.read()
            if not self._rest:
                return self._decoder.flush() if self._decoder is not None else b""

    async def close(self) -> None:
        """Let go of the answer."""
        await self._answer.close()

    def _decode(self, data: bytes) -> bytes:
        if self._decoder is None:
            self._decoder = zlib.decompressobj(self._window_of(data))
        try:
            decoded = self._decoder.decompress(data, DECODED_BYTES_MAX)
        except zlib.error as error:
            raise UpstreamBroke(type(error).__name__) from error
        self._rest = self._decoder.unconsumed_tail
        return decoded

    def _window_of(self, start: bytes) -> int:
        if self._is_gzip:
            return _GZIP
        return zlib.MAX_WBITS if start[0] & 0x0F == _ZLIB_METHOD else _RAW_DEFLATE
