"""Rates in a slot: they fit, and come back as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbalance.books.holds.journal.lines import (
    Entry,
    PlacedWith,
    State,
    read_slot,
    slot_line,
)
from tokenbalance.books.holds.journal.packing import packed_rates, unpacked_rates
from tokenbalance.books.pricing.rate_card import RateCard, load_rate_card
from tokenbalance.model import Conditions, Usage

CARD = Path(__file__).parents[3] / "docs" / "rate-cards" / "micro-dollars.toml"
DEAREST = Conditions(
    tier="priority",
    cache_lifetime="12h",
    image_model="gpt-image-2",
    svg_model="gpt-5.6-sol",
    tools=("code_interpreter", "web_search"),
)
USED = {
    "input": 190_000,
    "cached_input": 1024,
    "output": 10_000,
    "reasoning": 5000,
    "tier:priority": 1,
    "call:web_search": 3,
}


def entry_at(rates: str) -> Entry:
    hold = PlacedWith(12_345_678, "gpt-6.2-sol", rates, 1000, 16_000)
    return Entry("tb_" + "0" * 32, 12_345, 12_345, "/chat/completions", hold)


@pytest.fixture(scope="module")
def card() -> RateCard:
    return load_rate_card(CARD)


@pytest.mark.parametrize("known", [None, Usage(USED, 200_000)])
def test_a_slot_has_room_for_a_hold_at_any_rates_of_a_known_model(
    card: RateCard, known: Usage | None
) -> None:
    entry = entry_at(card.rates_for("gpt-6.2-sol", DEAREST).text)
    state = State.DISPATCHED if known is None else State.USED
    assert read_slot(slot_line(entry, (state, known))) == (entry, state, known)


def test_a_slot_has_room_for_what_a_hold_took_from_limits(card: RateCard) -> None:
    plain = entry_at(card.rates_for("gpt-6.2-sol", DEAREST).text)
    assert plain.hold is not None
    limited = plain.held(plain.hold._replace(tokens=17_000, limit_ids=(1001, 1002, 1003, 77, 78)))
    line = slot_line(limited, (State.DISPATCHED, None))
    assert read_slot(line) == (limited, State.DISPATCHED, None)
    # One that took from none is written as before there were limits.
    assert b",16000]" in slot_line(plain, (State.DISPATCHED, None))


@given(st.text(st.characters(exclude_categories=("Cs",))).map(lambda rest: "{" + rest))
def test_what_is_packed_comes_back(text: str) -> None:
    assert unpacked_rates(packed_rates(text)) == text


@pytest.mark.parametrize("damaged", ["~", "~!", "~zzzzzzzzzz", "~\u20ac"])
def test_damaged_rates_are_a_damaged_slot(damaged: str) -> None:
    with pytest.raises(ValueError, match=r"damaged|base85|ASCII"):
        _ = unpacked_rates(damaged)
