"""Prices of genai-prices as terms of a card: exact, and nothing left out silently."""

from __future__ import annotations

import datetime as dt
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseOr,
    ClauseStartsWith,
    ConditionalPrice,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from tests.books.catalogue.listed import at, prices, read, since, terms
from tokenbalance.books.pricing.catalogue.terms import CatalogueError
from tokenbalance.model import Long

if TYPE_CHECKING:
    from genai_prices.types import MatchLogic, ModelPrice, PriceVariant

CHAT = prices(input_mtok="2", cache_read_mtok="0.25", output_mtok="10")


def test_dollars_for_a_million_tokens_are_micro_dollars_for_one() -> None:
    listed = prices(
        input_mtok="0.15",
        cache_read_mtok="0.075",
        cache_write_mtok="0.1875",
        output_mtok="0.6",
        input_audio_mtok="10",
        output_audio_mtok="20",
        input_image_mtok="8",
        cache_image_read_mtok="2",
        output_image_mtok="32",
    )
    assert terms(listed).rates == {
        "input": Fraction("0.15"),
        "cached_input": Fraction("0.075"),
        "cache_write": Fraction("0.1875"),
        "output": Fraction("0.6"),
        "audio_input": 10,
        "audio_output": 20,
        "image_input": 8,
        "cached_image_input": 2,
        "image_output": 32,
    }


def test_calls_hours_and_characters_become_one_of_each() -> None:
    searches = terms(
        prices(
            input_mtok="1", output_mtok="2", web_searches_kcount="10", storage_searches_kcount="2.5"
        )
    )
    assert searches.fees == {"web_search": 10_000, "file_search": 2_500}
    assert terms(prices(audio_hours="0.36", input_audio_hours="0.36")).rates == {
        "second_audio": 100
    }
    assert terms(prices(audio_hours="3")).rates == {"second_audio": Fraction(2500, 3)}
    assert terms(prices(input_mchars="15")).rates == {"character": 15}


def test_what_has_no_output_or_no_price_says_so_with_a_zero() -> None:
    assert terms(prices(input_mtok="0.02")).rates == {"input": Fraction("0.02"), "output": 0}
    assert terms(prices()).rates == {"input": 0, "output": 0}


def test_tiers_and_batches_are_factors() -> None:
    found = terms(
        CHAT,
        at(prices(), service_tier="default"),
        at(prices(input_mtok="1", cache_read_mtok="0.125", output_mtok="5"), service_tier="flex"),
        at(prices(input_mtok="4", cache_read_mtok="0.5", output_mtok="20"), service_tier="fast"),
        at(prices(input_mtok="1", cache_read_mtok="0.125", output_mtok="5"), processing="batch"),
    )
    assert found.tiers == {"flex": Fraction(1, 2), "fast": 2}
    assert (found.batch, found.notes) == (Fraction(1, 2), ())


def test_a_factor_without_an_end_is_exact() -> None:
    mini = prices(input_mtok="0.15", output_mtok="0.6")
    found = terms(mini, at(prices(input_mtok="0.25", output_mtok="1"), service_tier="priority"))
    assert found.tiers == {"priority": Fraction(5, 3)}


def test_where_input_and_output_differ_the_dearer_factor_counts_and_is_said() -> None:
    found = terms(CHAT, at(prices(input_mtok="4", output_mtok="30"), service_tier="priority"))
    assert found.tiers == {"priority": 3}
    assert found.notes == (
        "priority: input costs 4 by the list, 6 by this row",
        "priority: cached_input has no list price of its own, 0.75 by this row",
    )


def test_a_rounded_price_of_cached_input_is_said_and_changes_no_factor() -> None:
    found = terms(
        CHAT,
        at(prices(input_mtok="1", cache_read_mtok="0.13", output_mtok="5"), service_tier="flex"),
    )
    assert found.tiers == {"flex": Fraction(1, 2)}
    assert found.notes == ("flex: cached_input costs 0.13 by the list, 0.125 by this row",)


def test_long_input_is_a_border_with_the_dearest_factor_of_each_side() -> None:
    found = terms(
        prices(
            input_mtok=("2", "4"),
            cache_read_mtok=("0.2", "0.5"),
            cache_write_mtok="2.5",
            output_mtok=("10", "15"),
        )
    )
    assert found.long == Long(272_000, Fraction(5, 2), Fraction(3, 2))
    assert found.notes == (
        "input costs 4 above 272,000 by the list, 5 by this row",
        "cache_write costs 2.5 above 272,000 by the list, 6.25 by this row",
    )


def test_a_tier_without_a_price_for_long_input_is_said() -> None:
    found = terms(
        prices(input_mtok=("2", "4"), output_mtok=("10", "15")),
        at(prices(input_mtok="4", output_mtok="20"), service_tier="priority"),
        at(prices(input_mtok=("1", "3"), output_mtok="5"), service_tier="flex"),
    )
    assert found.tiers == {"priority": 2, "flex": Fraction(1, 2)}
    assert found.notes == (
        "priority has no list price above 272,000",
        "flex: input costs 3 above 272,000 by the list, 2 by this row",
        "flex: output costs 5 above 272,000 by the list, 7.5 by this row",
    )


def test_prices_with_dates_are_a_history_each_with_the_tiers_of_its_time() -> None:
    july, october, later = dt.date(2026, 7, 30), dt.date(2026, 10, 12), dt.date(2027, 1, 1)
    half = prices(input_mtok="0.5", output_mtok="2")
    found = read(
        [
            ConditionalPrice(prices=prices(input_mtok="5", output_mtok="20")),
            since(july, prices(input_mtok="1", output_mtok="4")),
        ],
        at(half, october, service_tier="flex"),
        at(half, later, service_tier="slow"),
    )
    assert [(one.since, one.rates["input"], one.tiers) for one in found.history] == [
        (None, 5, {}),
        (july, 1, {"flex": Fraction(1, 2)}),
    ]


def test_a_price_that_stands_in_a_comment_only_is_used() -> None:
    found = terms(
        prices(input_mtok="1", cache_write_mtok="1.25", output_mtok="5"),
        comment="The 12-hour retention rate ($2.50) is not modeled.",
    )
    assert found.rates["cache_write_12h"] == Fraction("2.5")


def test_cached_audio_which_no_report_tells_apart_is_said() -> None:
    found = terms(prices(input_mtok="1", input_audio_mtok="32", cache_audio_read_mtok="0.4"))
    assert found.notes == (
        "cached audio costs 0.4 by the list, what audio_input costs by this row",
    )


def test_names_become_patterns() -> None:
    clauses: list[MatchLogic] = [
        ClauseEquals(equals="a"),
        ClauseStartsWith(starts_with="b-"),
        ClauseEndsWith(ends_with="-c"),
        ClauseContains(contains="d"),
    ]
    assert read(CHAT, match=ClauseOr(or_=clauses)).patterns == ("a", "b-*", "*-c", "*d*")
    with pytest.raises(CatalogueError, match="m: ClauseAnd cannot be written as a pattern"):
        read(CHAT, match=ClauseAnd(and_=clauses))


TIERS = [Tier(start=1, price=2), Tier(start=2, price=3)]  # pyright: ignore[reportArgumentType] - numbers as good as decimals
NIGHT = TimeOfDateConstraint(start_time=dt.time(1), end_time=dt.time(2))


@pytest.mark.parametrize(
    ("listed", "variants", "message"),
    [
        (prices(dreams_kcount="1"), [], "dreams_kcount has no kind on a card"),
        (prices(input_mtok="1", audio_hours=("1", "2")), [], "a price that is not of tokens"),
        (
            [ConditionalPrice(constraint=NIGHT, prices=CHAT)],
            [],
            "prices by TimeOfDateConstraint have no place",
        ),
        (CHAT, [at(CHAT, region="eu")], "prices by {'region': 'eu'} have no place"),
        (CHAT, [at(CHAT, service_tier="x", region="eu")], "have no place on a card"),
        (CHAT, [at(prices(web_searches_kcount="1"), service_tier="x")], "for more than tokens"),
        (CHAT, [at(prices(input_audio_mtok="1"), service_tier="x")], "x has prices of kinds that"),
        (
            prices(input_audio_mtok="1"),
            [at(prices(input_audio_mtok="2"), service_tier="x")],
            "the standard tier has none of tokens",
        ),
    ],
)
def test_what_has_no_place_on_a_card_is_an_error_that_names_the_model(
    listed: ModelPrice | list[Any], variants: list[PriceVariant], message: str
) -> None:
    with pytest.raises(CatalogueError) as error:
        read(listed, *variants)
    assert message in str(error.value)
    assert str(error.value).startswith("genai-prices: m: ")


def test_two_borders_of_long_input_are_an_error() -> None:
    listed = prices(output_mtok="1")
    vars(listed)["input_mtok"] = TieredPrices(base=1, tiers=TIERS)  # pyright: ignore[reportArgumentType] - as above
    with pytest.raises(CatalogueError, match="more than one price for long input"):
        read(listed)
