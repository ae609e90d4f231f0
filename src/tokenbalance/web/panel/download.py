"""A file that is written while it is sent, however long it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


async def csv_download(name: str, pieces: AsyncGenerator[bytes]) -> StreamingResponse:
    """Send CSV as a file with the day in its name.

    Its first piece is made before anything is sent: what cannot be read at all is still a page
    that says so.
    """
    first = await anext(pieces, b"")

    async def body() -> AsyncGenerator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    file = f"tokenbalance-{name}-{datetime.now(UTC).date().isoformat()}.csv"
    return StreamingResponse(
        body(),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{file}"'},
    )
