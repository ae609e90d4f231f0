"""Forms on their way in: read as they stream, and kept until their request ends.

The fields are in memory. The bytes go to the disk once there are many, so that an upload of any
size takes the same memory. Room for both is taken before anything is kept.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tokenbalance.errors import UnsupportedMediaType
from tokenbalance.proxy.room import UPLOAD_BYTES_MAX
from tokenbalance.wire.client.forms import Form, FormReader, boundary_of
from tokenbalance.wire.client.spool import MEMORY_BYTES_MAX, Spools

if TYPE_CHECKING:
    from tokenbalance.proxy.room import Place
    from tokenbalance.wire.client.request import ClientRequest


@dataclass(frozen=True, slots=True)
class Forms:
    """Reads the forms of requests."""

    spools: Spools = field(default_factory=lambda: Spools(Path(tempfile.gettempdir())))
    bytes_max: int = UPLOAD_BYTES_MAX

    async def read(
        self, request: ClientRequest, place: Place, bytes_max: int | None = None
    ) -> Form:
        """Read the body of a request as a form.

        Args:
            request: its head says that the body is a form.
            place: what the request occupies; the form is dropped with it.
            bytes_max: of the operation, if it accepts less than this server.

        Raises:
            InvalidForm: it is malformed, or can be read in two ways.
            UnsupportedMediaType: it is compressed, or not in UTF-8.
            RequestTooLarge, RequestTimeout: the body is too large, or came too slowly.
            TooManyRequests, ServiceUnavailable, StorageFull: there is no room for it.
            ClientGone: the client has left.

        """
        boundary = boundary_of(request.headers)
        if any(name == b"content-encoding" for name, _ in request.headers):
            msg = "A compressed form is not accepted; send it without Content-Encoding."
            raise UnsupportedMediaType(msg)
        limit = self.bytes_max if bytes_max is None else min(bytes_max, self.bytes_max)
        declared = request.declared_bytes or 0
        if MEMORY_BYTES_MAX < declared <= limit:
            place.store(declared)
        reader = FormReader(boundary.value)
        spool = place.own(self.spools.new(declared))

        async def take(piece: bytes) -> None:
            reader.feed(piece)
            place.keep(reader.text_bytes + spool.memory_bytes + len(piece))
            if spool.size + len(piece) > MEMORY_BYTES_MAX:
                place.store(spool.size + len(piece))
            await spool.write(piece)
            place.release(reader.text_bytes + spool.memory_bytes)

        await request.feed_body(take, limit)
        document, files = reader.finish()
        await spool.seal()
        return Form(document, files, boundary, spool)
