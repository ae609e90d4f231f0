"""A card made from genai-prices says what OpenAI's price list says, model by model."""

from __future__ import annotations

import csv
import datetime as dt
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.docs.pages import ROOT
from tokenbalance.books.pricing.catalogue import additions
from tokenbalance.books.pricing.catalogue.additions import with_additions
from tokenbalance.books.pricing.catalogue.differences import compare
from tokenbalance.books.pricing.catalogue.genai import read_genai_prices
from tokenbalance.books.pricing.catalogue.proposal import CREDIT_UNITS, card_text
from tokenbalance.books.pricing.rate_card import UnpricedModel, load_rate_card, read_rate_card
from tokenbalance.books.pricing.units import fee_kind
from tokenbalance.model import Conditions
from tokenbalance.openai.ceilings.image_tool import DEFAULT_MODEL

if TYPE_CHECKING:
    from tokenbalance.books.pricing.catalogue.terms import Catalogue
    from tokenbalance.books.pricing.rate_card import RateCard, Row

LIST: Final = Path(__file__).parents[2] / "data/openai-prices.csv"
"""OpenAI's prices on 2026-11-30, read from its list and not by the product."""
DAY: Final = dt.date(2026, 11, 30)
NANO: Final = 10**9
UNITS: Final = list(CREDIT_UNITS.values())
NAMES: Final = {"ft:gpt-4o": "ft:gpt-4o-2024-08-06:a::b", "ft:gpt-4o-mini": "ft:gpt-4o-mini-2024-"}
"""Models of the list that no request can name as it does."""

KINDS: Final = {
    "input": "input",
    "cached": "cached_input",
    "cache_write": "cache_write",
    "output": "output",
    "audio_in": "audio_input",
    "audio_out": "audio_output",
    "image_in": "image_input",
    "image_out": "image_output",
}
FEES: Final = {"web_search_1k": "web_search", "file_search_1k": "file_search"}
TIERS: Final = ("priority", "fast", "flex")


@cache
def catalogue() -> Catalogue:
    return with_additions(read_genai_prices(DAY))


@cache
def card() -> RateCard:
    return read_rate_card(card_text(catalogue(), CREDIT_UNITS["micro-dollars"]))


def listed() -> list[dict[str, str]]:
    with LIST.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def row_of(model: str) -> Row:
    return card().row_for(NAMES.get(model, model), DAY)


def exactly(text: str) -> Fraction:
    """Read a number of the list, where 5/3 has 28 digits."""
    return Fraction(text).limit_denominator(1000) if len(text) > 20 else Fraction(Decimal(text))


def test_the_list_has_113_models() -> None:
    assert len({line["model"] for line in listed()}) == 113


@pytest.mark.parametrize("line", listed(), ids=lambda line: line["model"])
def test_every_price_is_as_in_the_list(line: dict[str, str]) -> None:
    row = row_of(line["model"])
    rates = row.rates.nano
    assert {kind: Fraction(rates[kind], NANO) for name, kind in KINDS.items() if line[name]} == {
        kind: Fraction(line[name]) for name, kind in KINDS.items() if line[name]
    }
    assert {tool: rates[fee_kind(tool)] for name, tool in FEES.items() if line[name]} == {
        tool: Fraction(line[name]) * 1000 * NANO for name, tool in FEES.items() if line[name]
    }
    if line["audio_hour"]:
        second = Fraction(line["audio_hour"]) * 1_000_000 / 3600
        assert rates["second_audio"] == -(-second * NANO // 1)


@pytest.mark.parametrize("line", listed(), ids=lambda line: line["model"])
def test_every_factor_is_as_in_the_list(line: dict[str, str]) -> None:
    row = row_of(line["model"])
    assert row.tiers == {tier: exactly(line[f"x_{tier}"]) for tier in TIERS if line[f"x_{tier}"]}
    assert row.batch == exactly(line["x_batch"] or "1")
    long = None if row.long is None else (row.long.above, row.long.input, row.long.output)
    if line["long_input"]:
        assert long == (
            272_000,
            Fraction(line["long_input"]) / Fraction(line["input"]),
            Fraction(line["long_output"]) / Fraction(line["output"]),
        )
    else:
        assert long is None


def test_a_model_without_a_price_in_the_list_is_free_or_priced_by_what_the_list_cannot_say() -> (
    None
):
    silent = [line["model"] for line in listed() if not any([*line.values()][1:])]
    assert {name: dict(row_of(name).nano) for name in silent} == {
        "moderation": {"input": 0, "output": 0},
        "tts-1": {"character": 15 * NANO},
        "tts-1-hd": {"character": 30 * NANO},
    }


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_proposed_card_is_one_and_differs_in_nothing_from_what_it_was_made_of(unit: Any) -> None:
    made = read_rate_card(card_text(catalogue(), unit))
    assert not compare(catalogue(), unit, made, DAY)
    with_batch = made.rates_for("gpt-5.6-sol", Conditions(tier="flex", is_batch=True), DAY)
    assert with_batch.factors is not None
    assert (with_batch.factors.assumed, with_batch.factors.always) == (
        Fraction(1, 2),
        Fraction(1, 2),
    )


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_cards_of_the_docs_are_those_that_are_proposed(unit: Any) -> None:
    file = ROOT / "docs/rate-cards" / f"{unit.name}.toml"
    # Anew: tokenbalance rates propose --whole --unit UNIT > docs/rate-cards/UNIT.toml
    assert file.read_text("utf-8") == card_text(catalogue(), unit)
    assert load_rate_card(file).version == 2


def test_the_default_image_model_has_no_known_price_and_the_cards_say_so() -> None:
    with pytest.raises(UnpricedModel):
        _ = row_of(DEFAULT_MODEL)
    for unit in UNITS:
        assert f"default image model, {DEFAULT_MODEL}, has no known price" in " ".join(
            card_text(catalogue(), unit).replace("\n# ", " ").split()
        )


def test_a_price_has_a_history_where_the_catalogue_has_one() -> None:
    luna = [
        card().row_for("gpt-5.6-luna", day).nano["output"] for day in (dt.date(2026, 7, 29), DAY)
    ]
    assert luna == [6 * NANO, NANO * 12 // 10]
    assert card().row_for("gpt-5.6-luna-2026-07-09", DAY).nano["input"] == NANO // 5


def test_additions_fill_gaps_only() -> None:
    known = {model.name: model for model in read_genai_prices(DAY).models}
    assert not {model.name for model in additions.MODELS} & known.keys()
    for name, (rates, _) in additions.RATES.items():
        assert not rates.keys() & known[name].history[-1].rates.keys(), "remove this addition"
    assert not any(
        additions.CONTAINER_FEE[0] in terms.fees
        for model in known.values()
        for terms in model.history
    )


def test_the_price_of_a_newer_model_is_that_of_openais_list() -> None:
    sol = row_of("gpt-6.2-sol-2026-11-17")
    assert {kind: Fraction(rate, NANO) for kind, rate in sol.nano.items()} == {
        "input": 2,
        "cached_input": Fraction(1, 10),
        "cache_write": Fraction(5, 2),
        "cache_write_12h": 5,
        "output": 10,
        "call:web_search": 10_000,
        "call:file_search": 2_500,
        "session:code_interpreter": 30_000,
    }
    assert sol.tiers["ultrafast"] == 3
