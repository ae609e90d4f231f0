"""A kind that the upstream begins to bill: one row where it is priced, one where it is reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from openai.types.completion_usage import CompletionTokensDetails, PromptTokensDetails
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

from tests.support.journals import ENTRY
from tokenbalance.books.holds.journal import State
from tokenbalance.books.holds.journal.lines import read_slot, slot_line
from tokenbalance.books.pricing.bill import BillLine, explain_charge
from tokenbalance.books.pricing.ceilings import wanted_for
from tokenbalance.books.pricing.rate_card import RateCardError, read_rate_card
from tokenbalance.books.pricing.rates import charge_for, rates_document, rates_from, split
from tokenbalance.books.pricing.units import INPUT, OUTPUT, REQUEST, UNITS, Unit, Units
from tokenbalance.model import Estimate, Usage
from tokenbalance.openai.metering.usage import PARTS, Parts, read_usage

if TYPE_CHECKING:
    from pydantic import BaseModel

    from tokenbalance.model import Json, Rates

MORE: Final = Units(
    (
        *UNITS.rows,
        Unit("draft", "Draft tokens", INPUT, parent="input"),
        Unit("draft_kept", "Draft tokens, kept", INPUT, parent="draft"),
    )
)
MORE_PARTS: Final = Parts(
    {**PARTS.input, "draft": "draft_tokens", "draft_kept": "kept_tokens"},
    PARTS.output,
)

REPORT: Final[Json] = {
    "prompt_tokens": 100,
    "completion_tokens": 7,
    "total_tokens": 107,
    "prompt_tokens_details": {"cached_tokens": 40, "draft_tokens": 50},
}
USED: Final = Usage({"input": 100, "cached_input": 40, "draft": 50, "output": 7}, 107)

CARD: Final = '[[models]]\nmatch = "m"\ninput = 2\ncached_input = 1\noutput = 4\n'


def rates_of(card: str, units: Units = MORE) -> Rates:
    return read_rate_card(card, units).rates_for("m")


def billed(usage: Usage, rates: Rates) -> dict[str, tuple[int, str]]:
    lines = explain_charge(usage, rates, MORE).lines
    return {line.kind: (line.tokens, line.rate) for line in lines}


def test_a_further_kind_is_metered_where_it_is_reported() -> None:
    assert read_usage(REPORT, MORE_PARTS) == USED
    assert read_usage(REPORT) == Usage({"input": 100, "cached_input": 40, "output": 7}, 107)


def test_a_further_kind_costs_what_its_parent_does_until_it_has_a_rate() -> None:
    assert charge_for(USED, rates_of(CARD)) == 10 * 2 + 40 * 1 + 50 * 2 + 7 * 4
    assert charge_for(USED, rates_of(CARD, UNITS)) == charge_for(USED, rates_of(CARD))
    assert charge_for(USED, rates_of(CARD + "draft = 3")) == 10 * 2 + 40 * 1 + 50 * 3 + 7 * 4


def test_a_rate_is_inherited_from_the_nearest_kind_that_has_one() -> None:
    for more, expected in (("", "2"), ("draft = 3", "3"), ("draft_kept = 5", "5")):
        assert rates_document(rates_of(CARD + more), MORE)["draft_kept"] == expected
    assert MORE.ancestry["draft_kept"] == ("draft_kept", "draft", "input")


def test_a_hold_covers_a_further_kind_that_is_dearer() -> None:
    estimate = Estimate(100, output_cap=10, cap_fields=("max_tokens",))
    assert wanted_for(estimate, rates_of(CARD + "draft = 3")) == 100 * 3 + 10 * 4


def test_a_further_kind_is_a_line_of_the_bill() -> None:
    bill = explain_charge(USED, rates_of(CARD + "draft = 3"), MORE)
    assert BillLine("draft", "Draft tokens", 50, "3", "150") in bill.lines
    assert billed(USED, rates_of(CARD)) == {
        "input": (10, "2"),
        "cached_input": (40, "1"),
        "output": (7, "4"),
        "draft": (50, "2"),
    }


def test_a_further_kind_is_kept_with_the_rates_of_a_hold() -> None:
    rates = rates_of(CARD + "draft = 3")
    assert '"draft": "3"' in rates.text
    assert rates_from(rates_document(rates, MORE), MORE) == rates


def test_rates_from_before_a_further_kind_are_still_read() -> None:
    stored = rates_from(rates_document(rates_of(CARD, UNITS)), MORE)
    assert stored == rates_of(CARD)
    assert charge_for(USED, stored) == charge_for(USED, rates_of(CARD))


def test_a_further_kind_is_written_to_the_journal_and_read_back() -> None:
    line = slot_line(ENTRY, (State.USED, USED))
    assert read_slot(line) == (ENTRY, State.USED, USED)


def test_a_card_may_not_name_a_kind_that_there_is_not() -> None:
    with pytest.raises(RateCardError, match=r"line 6: .*draft: is not a known key"):
        _ = rates_of(CARD + "draft = 3", UNITS)


@pytest.mark.parametrize("units", [UNITS, MORE], ids=["today", "more"])
def test_a_table_has_each_kind_once_after_its_parent_on_the_same_side(units: Units) -> None:
    assert len(set(units.names)) == len(units.names)
    assert {INPUT, OUTPUT, REQUEST} <= set(units.names)
    sides = {unit.name: unit.side for unit in units.rows}
    for number, unit in enumerate(units.rows):
        if unit.parent is not None:
            assert unit.parent in units.names[:number]
            assert unit.side == sides[unit.parent]
        if unit.source is not None:
            assert unit.source.kind in units.names
    assert {REQUEST, *units.counts, *units.tokens} == set(units.names)
    assert {side for side, _ in units.sides} <= set(units.tokens)


NO_KIND: Final = {
    "accepted_prediction_tokens": "billed as the output that they are part of",
    "cache_write_tokens": "charged as the input that they are part of: no card has a rate for them",
    "cache_write_tokens_details": "divides cache_write_tokens",
    "rejected_prediction_tokens": "billed as the output that they are part of",
    "text_tokens": "what is left when the other kinds are taken away",
}
"""Members of a report's details that are not counted by themselves, and why."""


@pytest.mark.parametrize(
    ("details", "side"),
    [
        (PromptTokensDetails, "input"),
        (InputTokensDetails, "input"),
        (CompletionTokensDetails, "output"),
        (OutputTokensDetails, "output"),
    ],
)
def test_every_count_that_the_sdk_knows_is_a_kind_or_has_a_reason(
    details: type[BaseModel], side: str
) -> None:
    metered = set(getattr(PARTS, side).values())
    assert set(details.model_fields) <= metered | NO_KIND.keys()


def test_media_are_taken_first_and_what_is_left_is_plain() -> None:
    usage = Usage({"input": 10, "cache_write": 4, "cached_input": 3, "audio_input": 5}, 10)
    assert split(usage) == {"audio_input": 5, "cached_input": 3, "cache_write": 2}
