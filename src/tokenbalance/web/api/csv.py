"""Lists as CSV for who prefers it: all rows, streamed, nothing of them kept here.

Nothing is answered before the first rows are there, so that what goes wrong at once is an error
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
    """Whether a request asks for CSV rather than JSON; without an opinion it gets JSON."""
    ranges = ",".join(request.headers.getlist("accept"))
    quality, clearness = _preference(ranges, MEDIA_TYPE)
    return quality > 0 and (quality, clearness) > _preference(ranges, _JSON)


def csv_documented(columns: Sequence[str]) -> dict[int | str, dict[str, Any]]:  # pyright: ignore[reportExplicitAny] - FastAPI's type
    """Describe the file that a route answers with, by its first line."""
    file = {"schema": {"type": "string"}, "example": f"{','.join(columns)}\r\n"}
    return {200: {"content": {MEDIA_TYPE: file}}}


async def csv_response(lines: AsyncGenerator[bytes], name: str) -> StreamingResponse:
    """Answer with a file.

    Args:
        lines: its pieces.
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
    """How much a media type is wanted, and how clearly that is said (RFC 9110, 12.5.1)."""
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
