"""A file of any length that is generated while it is sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


async def csv_download(name: str, pieces: AsyncGenerator[bytes]) -> StreamingResponse:
    """Send CSV as a file with today's date in its name.

    The first piece is generated before the response starts, so that an early failure is a page.
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
