"""Known prices that the catalogue lacks. They fill gaps, and never replace a price that it has.

What is not known has no price here either: requests for it are refused until its operator sets one.
Remove an addition when the catalogue has caught up; a test says when.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.catalogue.patterns import ordered
from tokenbalance.books.pricing.catalogue.terms import PricedModel, Terms
from tokenbalance.model import Long

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.books.pricing.catalogue.terms import Catalogue

MODELS: Final = (
    PricedModel(
        "gpt-6.2-sol",
        ("gpt-6.2-sol", "gpt-6.2-sol-[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"),
        (
            Terms(
                since=None,
                rates={
                    "input": Fraction(2),
                    "cached_input": Fraction(1, 10),
                    "cache_write": Fraction(5, 2),
                    "cache_write_12h": Fraction(5),
                    "output": Fraction(10),
                },
                fees={"web_search": Fraction(10_000), "file_search": Fraction(2_500)},
                long=Long(272_000, Fraction(2), Fraction(3, 2)),
                tiers={
                    "flex": Fraction(1, 2),
                    "priority": Fraction(2),
                    "fast": Fraction(2),
                    "ultrafast": Fraction(3),
                },
                batch=Fraction(1, 2),
            ),
        ),
        "Not in the catalogue yet. Prices since 2026-11-17;"
        " compare them with https://developers.openai.com/api/docs/pricing.",
    ),
)
"""Models that it does not know."""

_AUDIO_NOTE: Final = (
    "The catalogue has no price of its audio; audio_input and audio_output are added"
)
RATES: Final[Mapping[str, tuple[Mapping[str, Fraction], str]]] = {
    "gpt-4o-audio-preview": (
        {"audio_input": Fraction(40), "audio_output": Fraction(80)},
        _AUDIO_NOTE,
    ),
    "gpt-4o-mini-audio-preview": (
        {"audio_input": Fraction(10), "audio_output": Fraction(20)},
        _AUDIO_NOTE,
    ),
}
"""Rates of its models, by name, with what to say of them."""

CONTAINER_FEE: Final = "code_interpreter", Fraction(30_000)
"""A container of the smallest size; for models that have fees of other hosted tools."""


def with_additions(catalogue: Catalogue) -> Catalogue:
    """Fill the gaps of a catalogue."""
    known = {model.name for model in catalogue.models}
    models = [
        *(_completed(model) for model in catalogue.models),
        *(_completed(model) for model in MODELS if model.name not in known),
    ]
    return replace(catalogue, models=ordered(sorted(models, key=lambda model: model.name)))


def _completed(model: PricedModel) -> PricedModel:
    return replace(model, history=tuple(_filled(model.name, terms) for terms in model.history))


def _filled(name: str, terms: Terms) -> Terms:
    if (added := RATES.get(name)) is not None and added[0].keys() - terms.rates.keys():
        rates, note = added
        terms = replace(terms, rates={**rates, **terms.rates}, notes=(*terms.notes, note))
    if terms.fees:
        tool, fee = CONTAINER_FEE
        terms = replace(terms, fees={**terms.fees, tool: terms.fees.get(tool, fee)})
    return terms
