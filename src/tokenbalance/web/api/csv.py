"""Lists as CSV for clients that prefer it: all rows, streamed, never held in memory.

The response starts after the first rows were read, so that an early failure is an error response
and not a broken file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from starlette.requests import Request

MEDIA_TYPE: Final = "text/csv"
_JSON: Final = "application/json"


def prefers_csv(request: Request) -> bool:
    """Whether a request prefers CSV to JSON; JSON is the default."""
    ranges = ",".join(request.headers.getlist("accept"))
    quality, clearness = _preference(ranges, MEDIA_TYPE)
    return quality > 0 and (quality, clearness) > _preference(ranges, _JSON)


def csv_documented(columns: Sequence[str]) -> dict[int | str, dict[str, Any]]:  # pyright: ignore[reportExplicitAny] - FastAPI's type
    """Describe the CSV file that a route returns, by its header line."""
    file = {"schema": {"type": "string"}, "example": f"{','.join(columns)}\r\n"}
    return {200: {"content": {MEDIA_TYPE: file}}}


async def csv_response(lines: AsyncGenerator[bytes], name: str) -> StreamingResponse:
    """Respond with a file.

    Args:
        lines: pieces of the file.
        name: of the file, without its extension.

    """
    first = await anext(lines, b"")
    return StreamingResponse(
        _all(first, lines),
        media_type=f"{MEDIA_TYPE}; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}.csv"'},
    )


async def _all(first: bytes, lines: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    yield first
    async for piece in lines:
        yield piece


def _preference(ranges: str, media_type: str) -> tuple[float, int]:
    """Quality of a media type and how specific its range is (RFC 9110, 12.5.1)."""
    wanted = (0.0, -1)
    general = f"{media_type.partition('/')[0]}/*"
    for clearness, known in enumerate(("*/*", general, media_type)):
        for part in ranges.lower().split(","):
            name, *parameters = (piece.strip() for piece in part.split(";"))
            if name == known:
                wanted = (_quality(parameters), clearness)
    return wanted


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            digits = value.strip()
            return float(digits) if digits.replace(".", "", 1).isdecimal() else 0.0
    return 1.0
