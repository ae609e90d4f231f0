"""Output of commands: JSON for programs, aligned tables for people. Nothing else prints.

No line is ever wrapped or shortened, so that ids and secrets survive a narrow terminal and a pipe.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable

Value: TypeAlias = str | int | bool | datetime | Sequence[str] | None
Fields: TypeAlias = Mapping[str, Value]
"""One thing that is shown, by the field names of the JSON."""
Document: TypeAlias = "Value | Sequence[Document] | Mapping[str, Document]"
"""What has parts of its own, in JSON only."""

# Wider than any row, because rich folds and cuts cells to fit the width.
_COLUMNS_MAX: Final = 100_000


def print_json(document: Mapping[str, Document] | Sequence[Mapping[str, Document]]) -> None:
    """Print one JSON value; times are ISO 8601 with an offset."""
    print_line(orjson.dumps(document).decode())


def print_line(line: str) -> None:
    """Print a line of the result to stdout."""
    _ = sys.stdout.write(f"{line}\n")


def print_aside(line: str) -> None:
    """Print a line for people to stderr, so that a pipe gets only the result."""
    _ = sys.stderr.write(f"{line}\n")


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun; `many` where an `s` does not make the plural."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def print_table(columns: Sequence[str], rows: Iterable[Fields]) -> None:
    """Print the named fields of each row; numbers right-aligned with thousands separators."""
    from rich.console import Console  # noqa: PLC0415 - slow to import, and only tables need it
    from rich.table import Table  # noqa: PLC0415 - as above

    rows = list(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        right = any(_is_number(row[name]) for row in rows) and name != "id"
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(name, row[name]) for name in columns))
    # Names and notes are text, never rich's markup.
    console = Console(markup=False, emoji=False, highlight=False, width=_COLUMNS_MAX)
    with console.capture() as printed:
        console.print(table)
    for line in printed.get().splitlines():
        print_line(line.rstrip())


def _is_number(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _cell(name: str, value: Value) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return str(value) if name == "id" else f"{value:,}"
        case datetime():
            return value.isoformat(sep=" ", timespec="seconds")
        case str():
            return value
        case _:
            return ", ".join(value)
