"""From the bytes or the text of a table to lines of named cells. Pure; knows no values.

encoding    UTF-8, with or without a byte order mark
separator   comma, semicolon or tab: whichever the first line has most of
header      names of columns in any order and case; without one: e-mails, or e-mails and names
quotes      as in RFC 4180; a cell may contain separators and line ends
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Final

from tokenbalance.model.values import value
from tokenbalance.people.imports.mistakes import ImportRefused, Mistake

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

ROWS_MAX: Final = 10_000
BYTES_MAX: Final = 5 * 1024 * 1024
COLUMNS_MAX: Final = 100
"""Many more than there are: each that is wrong is named, and what is no table has millions."""
_SEPARATORS: Final = ",;\t"
_WITHOUT_HEADER: Final = ("email", "name")
_ALIASES: Final = {"e_mail": "email", "mail": "email", "tags": "tag", "credit": "credits"}
_SHOWN_CHARS: Final = 40


@value
class Line:
    """One line of the table."""

    number: int
    """Where it begins; the first line of the text is 1."""
    cells: Mapping[str, str]
    """By column, without surrounding space and without empty ones."""


def read_lines(table: bytes | str, columns: Collection[str]) -> Sequence[Line]:
    """Read a table.

    Args:
        table: as a file has it, or as it was pasted.
        columns: the known ones.

    Raises:
        ImportRefused: it cannot be read; no cell was looked at.

    """
    text = _decoded(table).removeprefix("\ufeff")
    rows = _rows(text)
    first = next(rows, None)
    if first is None:
        raise _refusal(1, "the table is empty")
    names = _header(first, columns)
    lines: list[Line] = []
    if names is None:
        names = _without_header(first)
        lines.append(_line(first, names))
    for row in rows:
        if len(lines) == ROWS_MAX:
            raise _refusal(row[0], f"a table may have at most {ROWS_MAX:,} users")
        lines.append(_line(row, names))
    if not lines:
        raise _refusal(first[0], "there is no user below the header")
    return lines


def column_name(text: str) -> str:
    """Return the name of a column as it is known, however it is spelled."""
    name = text.strip().lower().replace("-", "_").replace(" ", "_")
    return _ALIASES.get(name, name)


def _decoded(table: bytes | str) -> str:
    size = len(table) if isinstance(table, bytes) else len(table.encode("utf-8", "replace"))
    if size > BYTES_MAX:
        raise _refusal(1, f"the table is larger than {BYTES_MAX // 1024 // 1024} MiB")
    if isinstance(table, str):
        return table
    try:
        return table.decode()
    except UnicodeDecodeError as error:
        number = table.count(b"\n", 0, error.start) + 1
        raise _refusal(number, "this is not UTF-8: save the table as CSV UTF-8") from None


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Split text into rows with the number of their first line; empty ones are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
    number = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield number, [cell.strip() for cell in row]
            number = reader.line_num + 1
    except csv.Error:
        reason = "the quotes do not fit, or a cell is too long: check the quotes of this line"
        raise _refusal(number, reason) from None


def _separator(text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return max(_SEPARATORS, key=first.count)


def _header(row: tuple[int, list[str]], columns: Collection[str]) -> list[str] | None:
    """Read the names of the columns; None if the row is one of a user."""
    number, cells = row
    if any("@" in cell for cell in cells):
        return None
    while cells and not cells[-1]:
        _ = cells.pop()
    if len(cells) > COLUMNS_MAX:
        raise _refusal(number, f"a table may have at most {COLUMNS_MAX} columns")
    names = [column_name(cell) for cell in cells]
    mistakes = [
        Mistake(number, cell[:_SHOWN_CHARS], f"is not a column: use {', '.join(columns)}")
        for cell, name in zip(cells, names, strict=True)
        if name not in columns and cell.isprintable()
    ]
    mistakes += [
        Mistake(number, name, "this column is there twice")
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if "email" not in names:
        mistakes.append(Mistake(number, "email", "this column is missing"))
    if mistakes:
        raise ImportRefused(mistakes)
    return names


def _without_header(row: tuple[int, list[str]]) -> list[str]:
    number, cells = row
    while cells and not cells[-1]:
        _ = cells.pop()
    if len(cells) > len(_WITHOUT_HEADER):
        raise _refusal(number, "more than e-mail and name need a header with names of columns")
    return list(_WITHOUT_HEADER)


def _line(row: tuple[int, list[str]], names: Sequence[str]) -> Line:
    number, cells = row
    if any(cells[len(names) :]):
        raise _refusal(number, f"there are {len(cells)} cells, but {len(names)} columns")
    return Line(number, {name: cell for name, cell in zip(names, cells, strict=False) if cell})


def _refusal(number: int, reason: str) -> ImportRefused:
    return ImportRefused([Mistake(number, "", reason)])
