"""Tables as Markdown, aligned so that they can be read in a terminal as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet


def lay_out(
    head: Sequence[str], rows: Iterable[Sequence[str]], text: AbstractSet[str]
) -> list[str]:
    """Lay a table out, a line for each row.

    Args:
        head: the names of the columns.
        rows: their cells.
        text: the columns that are aligned to the left; all others hold numbers.

    """
    body = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*body, strict=True)]
    rule = [
        "-" * width if name in text else "-" * (width - 1) + ":"
        for name, width in zip(head, widths, strict=True)
    ]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if name in text else cell.rjust(width)
            for name, cell, width in zip(head, row, widths, strict=True)
        ]
        return f"| {' | '.join(cells)} |"

    first, *others = map(line, body)
    return [first, f"| {' | '.join(rule)} |", *others]
