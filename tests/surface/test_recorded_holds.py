"""Recorded requests, held with a card: at every tier, the hold covers the charge.

The usage is read by the meter from the recorded response, the ceiling from the recorded request;
only the tier is varied. The card has a border that many recordings cross, and a fee for each tool.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.recordings import how_many, recordings
from tokenbalance.books.pricing.ceilings import minimum_for, paid_for, wanted_for
from tokenbalance.books.pricing.rate_card import read_rate_card
from tokenbalance.books.pricing.rates import charge_for
from tokenbalance.books.pricing.units import TIER
from tokenbalance.errors import ProxyError
from tokenbalance.model import OPENAI, Estimate, Usage
from tokenbalance.openai import find_operation
from tokenbalance.openai.conditions import conditions_of
from tokenbalance.openai.estimate import count
from tokenbalance.openai.metering.bills import with_fees
from tokenbalance.openai.metering.document import JsonMeter
from tokenbalance.openai.metering.stream import StreamMeter
from tokenbalance.proxy.asked import read_document

if TYPE_CHECKING:
    from tests.support.recordings import Recording
    from tokenbalance.model import Document, Rates
    from tokenbalance.openai.operation import Operation

PATHS: Final = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings")
CARD: Final = read_rate_card("""
version = 2

[[models]]
match = "*"
input = 2
cached_input = 0.1
cache_write = 2.5
cache_write_12h = 5
audio_input = 20
image_input = 8
cached_image_input = 2
output = 10
reasoning = 12
audio_output = 40
image_output = 30
request = 3
long = { above = 1000, input = 2, output = 1.5 }
tier = { flex = 0.5, priority = "5/3", ultrafast = 3 }
calls = { web_search = 10000, file_search = 2500, code_interpreter = 30000, shell = 30000 }
""")
SERVED: Final = {
    None: ("default",),
    "auto": ("default", "standard"),
    "default": ("default",),
    "flex": ("flex",),
    "priority": ("priority", "default"),
    "ultrafast": ("ultrafast", "default"),
}
"""The tiers by which a response may be served, by the tier that is asked for."""


@dataclass(frozen=True)
class Case:
    """A recorded exchange that reports what it used."""

    recording: Recording
    operation: Operation
    document: Document
    estimate: Estimate
    usage: Usage
    """Without its tier."""

    @property
    def model(self) -> str:
        return str(self.document["model"])

    def rates(self, tier: str | None) -> Rates:
        asked: Document = {**self.document, "service_tier": tier}
        return CARD.rates_for(self.model, conditions_of(self.operation, asked))


@cache
def cases() -> tuple[Case, ...]:
    """Every exchange with usage that may be made through a shared key."""
    found: list[Case] = []
    for recording in recordings(status=200):
        if recording.path not in PATHS or recording.usage is None:
            continue
        operation = find_operation("POST", recording.path.removeprefix("/v1").encode())
        try:
            document, references, _ = read_document(operation, recording.request_body, OPENAI)
        except ProxyError:
            continue
        if references:
            # Its input is not only in the request: `test_recorded_context`.
            continue
        usage, estimate = reported(recording, operation), count(operation, document)
        assert usage is not None, recording.id
        quantities = {k: n for k, n in usage.quantities.items() if not k.startswith(TIER)}
        usage = with_fees(replace(usage, quantities=quantities), estimate.unreported)
        found.append(Case(recording, operation, document, estimate, usage))
    return tuple(found)


def reported(recording: Recording, operation: Operation) -> Usage | None:
    """The usage as the proxy's meter reads it."""
    if recording.streamed:
        stream = StreamMeter(hide_usage=False)
        _ = stream.feed(recording.response_body)
        _ = stream.finish()
        return stream.usage
    document = JsonMeter(has_items=operation.family.has_items)
    document.feed(recording.response_body)
    document.finish()
    return document.usage


def served(usage: Usage, tier: str) -> Usage:
    return replace(usage, quantities={**usage.quantities, f"{TIER}{tier}": 1})


def test_there_is_enough_to_judge_by() -> None:
    assert len(cases()) >= how_many(20, 1_000)
    long = [case for case in cases() if case.usage.input > 1_000]
    assert len(long) >= how_many(1, 100)
    called = [case for case in cases() if any(":" in kind for kind in case.usage.quantities)]
    assert len(called) >= how_many(0, 10)


@pytest.mark.parametrize("tier", SERVED)
def test_the_hold_covers_the_charge_at_every_tier(tier: str | None) -> None:
    below: list[str] = []
    for case in cases():
        rates = case.rates(tier)
        hold = wanted_for(case.estimate, rates)
        charges = [charge_for(case.usage, rates)]
        charges += [charge_for(served(case.usage, name), rates) for name in SERVED[tier]]
        if max(charges) > hold:
            below.append(f"{case.recording.id}: {max(charges)} but {hold}, {case.usage}")
    assert below == []


def test_a_hold_without_a_card_covers_second_bills_too() -> None:
    assert [
        case.recording.id
        for case in cases()
        if charge_for(case.usage, None) > wanted_for(case.estimate, None)
    ] == []


def test_what_an_amount_pays_for_never_needs_more() -> None:
    for case in cases():
        rates = case.rates("priority")
        least, most = minimum_for(case.estimate, rates), wanted_for(case.estimate, rates)
        for amount in (least, (least + most) // 2, most - 1):
            if amount >= least:
                paid = paid_for(case.estimate, amount, rates)
                assert wanted_for(paid, rates) <= amount, case.recording.id
