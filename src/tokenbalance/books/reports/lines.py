"""Rows as bytes of files: CSV (RFC 4180) and JSON Lines. Times are ISO 8601 with their zone."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Sequence

    from tokenbalance.books.reports.export import Batch, Cell

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


async def csv_lines(columns: Sequence[str], batches: AsyncIterable[Batch]) -> AsyncGenerator[bytes]:
    """Write a header line and the rows, a piece of the file for each batch.

    Text stays text in a spreadsheet, even if it looks like a formula.
    """
    yield _csv([columns])
    async for batch in batches:
        yield _csv(batch)


async def json_lines(
    columns: Sequence[str], batches: AsyncIterable[Batch]
) -> AsyncGenerator[bytes]:
    """Write one JSON object a line for each row, a piece of the file for each batch."""
    async for batch in batches:
        objects = (dict(zip(columns, row, strict=True)) for row in batch)
        yield b"".join(orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in objects)


def _csv(rows: Batch) -> bytes:
    piece = io.StringIO()
    csv.writer(piece, lineterminator="\r\n").writerows([[*map(_cell, row)] for row in rows])
    return piece.getvalue().encode()


def _cell(value: Cell) -> Cell:
    match value:
        case str():
            # What spreadsheets read as a formula; OWASP's list.
            return f"'{value}" if value.startswith(_FORMULA) else value
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat()
        case _:
            return value
