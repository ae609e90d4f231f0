"""Rows with dates: a card is a history, and a request is priced by its day."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

import pytest

from tokenbalance.books.pricing.rate_card import RateCardError, UnpricedModel, read_rate_card
from tokenbalance.books.pricing.rate_card import card as cards

if TYPE_CHECKING:
    from tokenbalance.books.pricing.rate_card import RateCard


def priced(match: str, rate: int, begins: str = "") -> str:
    since = f"valid_from = {begins}\n" if begins else ""
    return f'[[models]]\nmatch = "{match}"\n{since}input = {rate}\noutput = 0\n'


def several(*patterns: str) -> str:
    return f"[[models]]\nmatch = {list(patterns)}\nrequest = 1\n"


CARD: Final = "version = 2\n" + "".join(
    (
        priced("gpt-6*", 3, "2026-11-17"),
        priced("gpt-6*", 1, "2026-01-01"),
        priced("gpt-6*", 2, "2026-06-01"),
        priced("*", 9),
    )
)


def rate(card: RateCard, day: str, model: str = "gpt-6.2") -> int:
    return card.rates_for(model, day=dt.date.fromisoformat(day)).nano["input"] // 10**9


def test_the_newest_row_that_has_begun_counts_wherever_it_stands() -> None:
    card = read_rate_card(CARD)
    days = ("2026-01-01", "2026-05-31", "2026-06-01", "2026-11-16", "2026-11-17", "2030-01-01")
    assert [rate(card, day) for day in days] == [1, 1, 2, 2, 3, 3]


def test_before_the_first_of_them_the_next_row_that_matches_counts() -> None:
    assert rate(read_rate_card(CARD), "2025-12-31") == 9


def test_a_model_all_of_whose_rows_begin_later_has_none_yet() -> None:
    card = read_rate_card("version = 2\n" + priced("gpt-7", 4, "2027-01-01"))
    with pytest.raises(UnpricedModel):
        _ = card.rates_for("gpt-7", day=dt.date(2026, 12, 31))
    assert rate(card, "2027-01-01", "gpt-7") == 4


def test_a_row_without_a_date_is_the_oldest_of_its_history() -> None:
    card = read_rate_card("version = 2\n" + priced("m", 5, "2026-11-17") + priced("m", 4))
    assert (rate(card, "1999-01-01", "m"), rate(card, "2026-11-17", "m")) == (4, 5)


def test_a_running_server_changes_its_prices_at_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    card = read_rate_card(CARD)
    midnight = dt.datetime(2026, 11, 17, tzinfo=dt.UTC)
    seconds = int(midnight.timestamp())
    found: list[int] = []
    for now in (seconds - 1, seconds, seconds + 86_400):
        monkeypatch.setattr(f"{cards.__name__}.time.time_ns", lambda now=now: now * 10**9)
        found.append(card.rates_for("gpt-6.2").nano["input"] // 10**9)
    assert found == [2, 3, 3]


def test_the_rows_of_a_day_are_those_that_count_then() -> None:
    card = read_rate_card(CARD)
    rows = card.rows(dt.date(2026, 7, 1))
    assert [(row.pattern, row.begins) for row in rows] == [
        ("gpt-6*", dt.date(2026, 6, 1)),
        ("*", None),
    ]
    assert [row.pattern for row in card.rows(dt.date(2025, 7, 1))] == ["*"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            priced("m", 1, "2026-01-01") + priced("m", 2, "2026-01-01"),
            "line 9: models[1].valid_from: is that of models[0] too, which has the same match",
        ),
        (
            priced("m", 1) + priced("m", 2),
            "line 7: models[1].match: can never match: models[0] comes first and matches them all",
        ),
        (
            priced("m*", 1, "2026-01-01") + priced("mini", 2, "2026-05-01"),
            "line 8: models[1].match: can never match: models[0] comes first",
        ),
        (
            several("b", "a") + several("c", "a"),
            "line 6: models[1].match: a can never match: models[0] comes first",
        ),
        (
            several("b", "a") + several("a", "b"),
            "line 6: models[1].match: can never match: models[0] comes first",
        ),
    ],
)
def test_a_row_that_can_never_count_is_a_mistake(rows: str, expected: str) -> None:
    with pytest.raises(RateCardError) as error:
        _ = read_rate_card("version = 2\n" + rows)
    assert str(error.value).startswith(expected)


def test_a_row_behind_one_that_begins_later_is_none() -> None:
    card = read_rate_card("version = 2\n" + priced("m*", 1, "2026-05-01") + priced("mini", 2))
    assert (rate(card, "2026-04-30", "mini"), rate(card, "2026-05-01", "mini")) == (2, 1)
