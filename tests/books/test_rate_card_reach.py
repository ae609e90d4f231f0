"""Rows that can never match are found as if each were compared with all before it, but at once."""

from __future__ import annotations

import datetime as dt
import re
import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tokenbalance.books.pricing.rate_card import RateCardError, read_rate_card

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WILDCARD = re.compile(r"\[!?\]?[^\]]*\]|[*?]")
ROWS = 4900


class Listed(NamedTuple):
    """A row of a card."""

    patterns: tuple[str, ...]
    begins: dt.date | None = None

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(sorted(self.patterns))

    @property
    def text(self) -> str:
        """The row in TOML, on four lines."""
        quoted = ", ".join(f'"{pattern}"' for pattern in self.patterns)
        since = "" if self.begins is None else f"valid_from = {self.begins}"
        return f"[[models]]\n{since}\nmatch = [{quoted}]\nrequest = 1\n"


def covers(pattern: str, other: str) -> bool:
    if pattern == other:
        return True
    literal, count = WILDCARD.subn("\0", other)
    if count and WILDCARD.search(pattern.replace("*", "")):
        return False
    return fnmatchcase(literal, pattern)


def covering(rows: Sequence[Listed], number: int) -> Iterator[tuple[int, str]]:
    """Compare a row with every earlier one: rows that take all from one of its patterns."""
    row = rows[number]
    keys = list(dict.fromkeys(each.key for each in rows))
    begins = row.begins or dt.date.min
    for key in keys[: keys.index(row.key)]:
        for index, earlier in enumerate(rows[:number]):
            if earlier.key == key and (earlier.begins or dt.date.min) <= begins:
                for pattern in row.patterns:
                    if any(covers(other, pattern) for other in earlier.patterns):
                        yield index, pattern


def mistake_in(rows: Sequence[Listed]) -> str | None:
    for number, row in enumerate(rows):
        for index, pattern in covering(rows, number):
            which = "" if len(row.patterns) == 1 else f"{pattern} "
            return (
                f"line {4 + 4 * number}: models[{number}].match: {which}can never match:"
                f" models[{index}] comes first and matches them all"
            )
    return None


def refusal(text: str) -> str | None:
    try:
        _ = read_rate_card(text)
    except RateCardError as error:
        return str(error)
    return None


PATTERNS = st.text(alphabet="ab*?[]!-", min_size=1, max_size=5)
DAYS = st.none() | st.dates(dt.date(2026, 1, 1), dt.date(2026, 1, 3))
CARDS = st.lists(
    st.builds(Listed, st.lists(PATTERNS, min_size=1, max_size=3).map(tuple), DAYS),
    min_size=1,
    max_size=8,
    unique_by=lambda row: (row.key, row.begins),
)


@given(CARDS)
@example([Listed(("a*",)), Listed(("b", "ab"))])
@example([Listed(("a*",)), Listed(("a",))])
@example([Listed(("a*",), dt.date(2026, 1, 2)), Listed(("ab",)), Listed(("a?",), dt.date.max)])
@example([Listed(("[!a]b*",)), Listed(("bb",))])
@example([Listed(("a**",)), Listed(("a[b]",))])
@example([Listed(("*b",)), Listed(("?b",))])
@settings(max_examples=300, deadline=None)
def test_they_are_those_that_a_comparison_with_all_rows_finds(rows: list[Listed]) -> None:
    assert refusal("version = 2\n" + "".join(row.text for row in rows)) == mistake_in(rows)


@pytest.mark.parametrize("name", ["m-{}", "m-{}*", "{}-[ab]?", "{}*m*"])
def test_a_card_as_long_as_a_card_may_be_is_read_at_once(name: str) -> None:
    text = "version=2\n" + "".join(
        f'[[models]]\nmatch="{name.format(f"{number:04}")}"\nrequest=1\n' for number in range(ROWS)
    )
    begun = time.process_time()
    assert len(read_rate_card(text).histories) == ROWS
    # Comparing all with all took half a minute.
    assert time.process_time() - begun < 5


def test_the_line_of_a_mistake_is_found_at_once() -> None:
    rows = '[[models]]\nmatch="m{}"\nrequest=1\n'
    text = "version=2\n" + "".join(rows.format(f"{number:04}") for number in range(ROWS))
    begun = time.process_time()
    mistake = "[[models]]\nmatch = [\n  'x',\n  'm0007',\n]\nrequest = 1\n"
    message = refusal(text + mistake + "# The end\n" * 100)
    assert message == (
        f"line {3 * ROWS + 3}: models[{ROWS}].match:"
        " m0007 can never match: models[7] comes first and matches them all"
    )
    assert time.process_time() - begun < 10
