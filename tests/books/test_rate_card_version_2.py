"""A rate card of version 2: kinds, factors, fees and second bills, and what it refuses."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.price_page import IMAGE_MODEL, MODEL, PRICE_PAGE, SVG_MODEL
from tokenbalance.books.pricing.rate_card import (
    UnpricedModel,
    UnpricedTier,
    UnpricedTool,
    UnpricedWindow,
    read_rate_card,
)
from tokenbalance.books.pricing.rates import charge_for, rates_document
from tokenbalance.books.pricing.units import UNITS
from tokenbalance.model import PLAIN, Conditions, Long, Usage
from tokenbalance.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from tokenbalance.books.pricing.rate_card import RateCard
    from tokenbalance.model import Factors

VERSION_1: Final = '[[models]]\nmatch = "m"\ninput = 1\noutput = 2\n'


@pytest.fixture(scope="module")
def card() -> RateCard:
    return read_rate_card(PRICE_PAGE)


def factors_of(card: RateCard, conditions: Conditions) -> Factors:
    factors = card.rates_for(MODEL, conditions).factors
    assert factors is not None
    return factors


def row(*more: str) -> RateCard:
    return read_rate_card(f"version = 2\n{VERSION_1}" + "\n".join(more))


def test_every_kind_that_is_no_second_bill_may_have_a_rate() -> None:
    kinds = UNITS.priced_in(2)
    lines = [f"{kind} = {number}" for number, kind in enumerate(kinds, 1)]
    rates = read_rate_card('version = 2\n[[models]]\nmatch = "m"\n' + "\n".join(lines))
    nano = rates.rates_for("m").nano
    assert [nano[kind] // 10**9 for kind in kinds] == [*range(1, len(kinds) + 1)]
    assert set(UNITS.names) - set(kinds) == {kind for kind, _ in UNITS.copied}


def test_a_cache_write_costs_what_input_does_and_a_long_one_what_a_cache_write_does() -> None:
    assert rates_document(row().rates_for("m"))["cache_write_12h"] == "1"
    assert rates_document(row("cache_write = 3").rates_for("m"))["cache_write_12h"] == "3"
    assert rates_document(row("cache_write_12h = 3").rates_for("m"))["cache_write"] == "1"


def test_only_tokens_are_scaled_by_per() -> None:
    card = read_rate_card(
        'version = 2\nper = 1000\n[[models]]\nmatch = "m"\ninput = 2000\noutput = 0\n'
        "second_audio = 75\nrequest = 3\ncalls = { web_search = 10_000 }"
    )
    document = rates_document(card.rates_for("m"))
    assert (document["input"], document["second_audio"], document["request"]) == ("2", "75", "3")
    assert document["call:web_search"] == "10000"


def test_a_row_may_have_only_counts_or_only_fees() -> None:
    card = read_rate_card(
        'version = 2\n[[models]]\nmatch = "whisper-1"\nsecond_audio = 100\n'
        '[[models]]\nmatch = "searcher"\ncalls = { web_search = 10 }\n'
    )
    assert charge_for(Usage({"second_audio": 3}), card.rates_for("whisper-1")) == 300
    assert charge_for(Usage({"call:web_search": 3}), card.rates_for("searcher")) == 30


def test_tools_with_containers_have_a_fee_for_a_session(card: RateCard) -> None:
    nano = card.rates_for(MODEL).nano
    assert nano["call:web_search"] == 10_000 * 10**9
    assert nano["session:code_interpreter"] == 30_000 * 10**9


def test_a_response_that_names_no_tier_costs_what_was_asked_for(card: RateCard) -> None:
    usage = Usage({"input": 100}, 100)
    costs = {
        tier: charge_for(usage, card.rates_for(MODEL, Conditions(tier)))
        for tier in ("auto", "default", "standard", "flex", "priority", "ultrafast")
    }
    assert costs == {
        "auto": 203,
        "default": 203,
        "standard": 203,
        "flex": 103,
        "priority": 337,  # 200 x 5/3 + 3
        "ultrafast": 603,
    }


def test_auto_may_have_a_factor_of_its_own_and_then_so_may_default() -> None:
    factors = row("tier = { auto = 2, default = 1.5, priority = 2 }").rates_for("m").factors
    assert factors is not None
    assert (factors.assumed, factors.tiers["default"]) == (2, Fraction(3, 2))
    assert factors.tiers["standard"] == 1


@pytest.mark.parametrize("tier", ["fast", "priority"])
def test_fast_and_priority_are_assumed_at_the_dearer_of_both(tier: str) -> None:
    card = row("tier = { fast = 2.5, priority = 2 }")
    factors = card.rates_for("m", Conditions(tier)).factors
    assert factors is not None
    assert (factors.assumed, factors.dearest) == (Fraction(5, 2), Fraction(5, 2))


@pytest.mark.parametrize("tier", ["turbo", "fast", "PRIORITY", ""])
def test_a_tier_without_a_factor_is_refused(card: RateCard, tier: str) -> None:
    with pytest.raises(UnpricedTier) as unpriced:
        _ = card.rates_for(MODEL, Conditions(tier))
    assert unpriced.value.tier == tier


def test_without_factors_every_tier_but_the_usual_one_is_refused() -> None:
    card = row()
    assert card.rates_for("m", Conditions("default")).factors is None
    for tier in ("flex", "priority"):
        with pytest.raises(UnpricedTier):
            _ = card.rates_for("m", Conditions(tier))


def test_window_batch_and_region_multiply_everything_that_tokens_cost() -> None:
    eu = read_rate_card(PRICE_PAGE, host="eu.api.openai.com")
    conditions = Conditions(window="24h", is_batch=True)
    assert factors_of(eu, PLAIN).always == Fraction(11, 10)
    assert factors_of(eu, conditions).always == Fraction(11, 10) * Fraction(3, 4) / 2
    usage = Usage({"input": 100, "call:web_search": 1}, 100)
    # 200 x 1.1 x 0.75 x 0.5 + 10,000 + 3
    assert charge_for(usage, eu.rates_for(MODEL, conditions)) == 10_086


@pytest.mark.parametrize(
    ("host", "factor"),
    [
        ("eu.api.openai.com", Fraction(11, 10)),
        ("EU.api.openai.com.", Fraction(11, 10)),
        # A region that is not listed is the dearest of those that are.
        ("au.api.openai.com", Fraction(6, 5)),
        ("api.openai.com", None),
        ("gateway.example.com", None),
        ("", None),
    ],
)
def test_the_region_is_that_of_the_upstreams_host(host: str, factor: Fraction | None) -> None:
    assert factors_of(read_rate_card(PRICE_PAGE, host=host), PLAIN).always == factor


def test_a_row_without_a_factor_for_batches_or_regions_costs_the_same_in_them() -> None:
    card = read_rate_card(f"version = 2\n{VERSION_1}", host="eu.api.openai.com")
    assert card.rates_for("m", Conditions(is_batch=True)).factors is None


def test_a_window_without_a_factor_is_refused(card: RateCard) -> None:
    with pytest.raises(UnpricedWindow) as unpriced:
        _ = card.rates_for(MODEL, Conditions(window="1h"))
    assert unpriced.value.window == "1h"
    with pytest.raises(UnpricedWindow):
        _ = row().rates_for("m", Conditions(window="24h"))


def test_a_tool_without_a_fee_is_refused_where_there_are_fees(card: RateCard) -> None:
    free = ("function", "image_generation", "mcp", "memory")
    assert card.rates_for(MODEL, Conditions(tools=(*free, "web_search")))
    with pytest.raises(UnpricedTool) as unpriced:
        _ = card.rates_for(MODEL, Conditions(tools=("shell", "web_search")))
    assert unpriced.value.tool == "shell"
    assert row().rates_for("m", Conditions(tools=("shell",)))
    with pytest.raises(UnpricedTool):
        _ = row("calls = {}").rates_for("m", Conditions(tools=("shell",)))


def test_long_input_has_a_border_and_factors(card: RateCard) -> None:
    assert factors_of(card, PLAIN).long == Long(272_000, Fraction(2), Fraction(3, 2))
    rates = row("long = { above = 10, output = 3 }").rates_for("m")
    assert charge_for(Usage({"input": 10, "output": 1}, 11), rates) == 12
    assert charge_for(Usage({"input": 11, "output": 1}, 12), rates) == 11 + 3 * 2


def test_a_second_bill_has_the_rates_of_its_own_model(card: RateCard) -> None:
    asked = Conditions(image_model=f"{IMAGE_MODEL}-2026-05-01", svg_model=SVG_MODEL)
    document = rates_document(card.rates_for(MODEL, asked))
    assert {
        kind: rate for kind, rate in document.items() if kind.startswith(("image_t", "svg"))
    } == {
        "image_tool_input": "5",
        "image_tool_cached_input": "1.25",
        "image_tool_image_input": "8",
        "image_tool_cached_image_input": "2",
        "image_tool_output": "4",
        "image_tool_image_output": "30",
        "svg_input": "7",
        "svg_output": "9",
        "svg_reasoning": "11",
    }
    assert "image_tool_input" not in rates_document(card.rates_for(MODEL))


@pytest.mark.parametrize("field", ["image_model", "svg_model"])
def test_a_second_model_without_a_row_is_refused_by_its_name(card: RateCard, field: str) -> None:
    with pytest.raises(UnpricedModel) as unpriced:
        _ = card.rates_for(MODEL, PLAIN._replace(**{field: "dall-e-9"}))
    assert (unpriced.value.model, unpriced.value.field) == ("dall-e-9", field)


def test_a_default_row_may_have_factors_and_is_for_second_models_too() -> None:
    card = read_rate_card(
        'version = 2\nunpriced = "default"\n'
        "[default]\ninput = 1\noutput = 2\ntier = { flex = 0.5 }\n"
    )
    rates = card.rates_for("any", Conditions("flex", image_model="other"))
    assert rates.factors is not None
    assert rates.factors.assumed == Fraction(1, 2)
    assert rates.nano["image_tool_output"] == 2 * 10**9


def test_a_row_may_be_for_several_patterns(card: RateCard) -> None:
    assert card.rates_for("chatgpt-image-latest") == card.rates_for(IMAGE_MODEL)
    assert card.rows()[1].patterns == ("gpt-image-2*", "chatgpt-image-*")


def test_the_dearest_input_is_a_long_lived_cache_write_only_where_one_was_asked_for(
    card: RateCard,
) -> None:
    assert card.rates_for(MODEL).input_peak.text == 25 * 10**8
    assert card.rates_for(MODEL, Conditions(cache_lifetime="12h")).input_peak.text == 5 * 10**9
    assert card.rates_for(MODEL).input_peak.media == 20 * 10**9


def test_rates_that_were_asked_for_before_are_the_same_object(card: RateCard) -> None:
    first = card.rates_for(MODEL, Conditions("flex"))
    assert card.rates_for(MODEL, Conditions("flex")) is first
    assert card.rates_for(MODEL, Conditions("priority")) is not first


def test_a_card_keeps_no_more_than_a_bounded_number_of_rates() -> None:
    card = read_rate_card('version = 2\n[[models]]\nmatch = "*"\ninput = 1\noutput = 1\n')
    first = card.rates_for("m")
    for number in range(1100):
        assert card.rates_for(f"m{number}") == first
    assert card.rates_for("m") == first
    assert len(card._kept) < 1100
    huge = "m" * 200
    assert card.rates_for(huge) is not card.rates_for(huge)


# Version 1.


def test_a_card_without_a_version_costs_what_it_always_cost() -> None:
    card = read_rate_card(VERSION_1)
    usage = Usage(
        {
            "input": 300_000,
            "cache_write_12h": 1_000,
            "output": 1,
            "call:web_search": 7,
            "image_tool_input": 5,
            "image_tool_output": 6,
            "tier:priority": 1,
        },
        300_012,
    )
    asked = Conditions(
        "flex", "12h", "24h", is_batch=True, image_model=IMAGE_MODEL, tools=("shell",)
    )
    assert charge_for(usage, card.rates_for("m", asked)) == 300_000 + 2
    assert card.rates_for("m").text == '{"input": "1", "output": "2"}'


@pytest.mark.parametrize("tier", ["auto", "default", "standard", "flex"])
def test_a_card_without_a_version_takes_the_tiers_that_cost_no_more(tier: str) -> None:
    assert read_rate_card(VERSION_1).rates_for("m", Conditions(tier)).factors is None


@pytest.mark.parametrize("tier", ["priority", "fast", "ultrafast", "scale"])
def test_a_card_without_a_version_refuses_dearer_tiers(tier: str) -> None:
    with pytest.raises(UnpricedTier):
        _ = read_rate_card(VERSION_1).rates_for("m", Conditions(tier))


def test_the_settings_tell_the_card_where_the_upstream_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "card.toml").write_text(PRICE_PAGE)
    monkeypatch.setenv("TOKENBALANCE_RATE_CARD", str(tmp_path / "card.toml"))
    monkeypatch.setenv("OPENAI_BASE_URL", "https://jp.api.openai.com/v1")
    card = load_settings().rates
    assert card is not None
    assert factors_of(card, PLAIN).always == Fraction(6, 5)
