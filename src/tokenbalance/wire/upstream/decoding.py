"""Decodes a body that the upstream compressed although it was asked not to.

It must never return more at once than fits in memory, however small the compressed bytes are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.wire.codings import BadCodingError, decoder_for
from tokenbalance.wire.upstream.client import feed_from
from tokenbalance.wire.upstream.faults import UpstreamBroke

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from tokenbalance.wire.codings import Decoder
    from tokenbalance.wire.upstream.client import Response, Take

DECODED_BYTES_MAX: Final = 256 * 1024
"""Of one read; of br, twice that."""


class DecodedBody:
    """The decoded body of a response."""

    def __init__(self, response: Response, codings: Sequence[bytes]) -> None:
        self._response: Response = response
        self._decoder: Decoder = decoder_for(codings)

    async def read(self) -> bytes:
        """Return what has arrived since, decoded; `b""` at the end.

        Raises:
            UpstreamBroke: it ended early, or is not in its declared coding.

        """
        received = b""
        while True:
            try:
                decoded = self._decoder.decode(received, DECODED_BYTES_MAX)
            except BadCodingError as error:
                raise UpstreamBroke(type(error).__name__) from error
            if decoded:
                return decoded
            received = await self._response.read()
            if not received:
                if self._decoder.is_whole:
                    return b""
                msg = "compressed bytes end too early"
                raise UpstreamBroke(msg)

    def feed(self, take: Take) -> Awaitable[bool]:
        """Give what arrives to `take`, decoded, until that returns False; False at the end."""
        return feed_from(self.read, take)

    def limit_silence(self, seconds: float) -> None:
        """End the response when nothing has arrived for so long, if its client can do that."""
        self._response.limit_silence(seconds)

    async def close(self) -> None:
        """Release the response."""
        await self._response.close()
