"""A catalogue as the text of a card, and a card compared with it: without any known price."""

from __future__ import annotations

import datetime as dt
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from tests.books.catalogue.listed import DAY
from tokenbalance.books.pricing.catalogue.additions import with_additions
from tokenbalance.books.pricing.catalogue.differences import compare, select
from tokenbalance.books.pricing.catalogue.proposal import CREDIT_UNITS, card_text, rows_text
from tokenbalance.books.pricing.catalogue.terms import Catalogue, PricedModel, Terms
from tokenbalance.books.pricing.rate_card import UnpricedTool, read_rate_card
from tokenbalance.model import Conditions, Long

if TYPE_CHECKING:
    from collections.abc import Mapping

DOLLARS = CREDIT_UNITS["micro-dollars"]
WEIGHTED = CREDIT_UNITS["weighted-tokens"]
NEXT_YEAR = dt.date(2027, 1, 1)

SMALL = Terms(since=None, rates={"input": Fraction("0.1"), "output": Fraction("0.5")})
LARGE = Terms(
    since=dt.date(2026, 1, 1),
    rates={"input": Fraction(2), "cached_input": Fraction("0.2"), "output": Fraction(10)},
    fees={"web_search": Fraction(10_000)},
    long=Long(272_000, Fraction(2), Fraction(3, 2)),
    tiers={"priority": Fraction(5, 3)},
    batch=Fraction(1, 2),
    notes=("flex: something costs more",),
)
CATALOGUE = Catalogue(
    "the list 1.0",
    (
        PricedModel("large", ("large", "large-[0-9]"), (LARGE,), "Seen on 2026-10-14."),
        PricedModel("small", ("small*",), (SMALL,), ""),
    ),
)


def by_what(
    text: str, day: dt.date = DAY, catalogue: Catalogue = CATALOGUE
) -> Mapping[str, object]:
    found = compare(catalogue, DOLLARS, read_rate_card(text), day)
    return {
        "missing": [(one.name, one.patterns) for one in found.missing],
        "different": [
            (one.model.name, one.row, [(c.what, c.old, c.new) for c in one.changes])
            for one in found.different
        ],
        "unknown": list(found.unknown),
    }


def test_a_row_has_every_price_and_says_where_it_comes_from() -> None:
    assert rows_text(CATALOGUE.models[0], DOLLARS) == (
        "# large\n"
        "# Seen on 2026-10-14.\n"
        "# Note: flex: something costs more.\n"
        "[[models]]\n"
        'match = ["large", "large-[0-9]"]\n'
        "valid_from = 2026-01-01\n"
        "input = 2\n"
        "cached_input = 0.2\n"
        "output = 10\n"
        "long = { above = 272000, input = 2, output = 1.5 }\n"
        'tier = { priority = "5/3" }\n'
        "calls = { web_search = 10000 }\n"
        "batch = 0.5\n"
    )


def test_tools_without_a_known_fee_are_refused_and_not_free() -> None:
    card = read_rate_card(card_text(CATALOGUE, WEIGHTED))
    for model in ("small", "nobody's"):
        with pytest.raises(UnpricedTool):
            card.rates_for(model, Conditions(tools=("web_search",)))
    assert card.rates_for("large", Conditions(tools=("function", "web_search")))


def test_a_rate_with_too_many_places_is_rounded_up_and_says_so() -> None:
    sound = Terms(since=None, rates={"second_audio": Fraction(2500, 3)})
    text = rows_text(PricedModel("live", ("live",), (sound,), ""), DOLLARS)
    assert "# Note: second_audio is 2500/3, rounded up.\n" in text
    assert "second_audio = 833.333333334\n" in text


def test_a_credit_may_be_less_than_a_micro_dollar() -> None:
    card = read_rate_card(card_text(CATALOGUE, WEIGHTED))
    assert card.row_for("small-1").nano["input"] == 10**9
    assert card.row_for("large").nano["call:web_search"] == 100_000 * 10**9
    # Models of nobody are as dear as the dearest.
    assert card.default is not None
    assert card.default.nano["output"] == 100 * 10**9


def test_a_catalogue_is_cut_down_by_name() -> None:
    assert [model.name for model in select(CATALOGUE, "large-0").models] == ["large"]
    assert [model.name for model in select(CATALOGUE, "*m*").models] == ["small"]


def test_a_card_that_says_the_same_in_other_words_is_no_difference() -> None:
    card = """
version = 2
per = 1000
[[models]]
match = "large*"
input = 2000
cached_input = 200
output = 10_000
reasoning = 10_000
image_input = 3000
request = 7
long = { above = 272_000, input = 2.0, output = "3/2" }
tier = { priority = "10/6", default = 1, ultrafast = 3 }
calls = { web_search = 10000, shell = 5 }
window = { 24h = 0.5 }
batch = 0.5
[[models]]
match = "sm*"
input = 100
output = 500
"""
    assert by_what(card) == {"missing": [], "different": [], "unknown": []}


def test_missing_rows_other_prices_and_rows_of_others_are_told_apart() -> None:
    card = """
version = 2
[[models]]
match = "llama-*"
input = 1
output = 1
[[models]]
match = "large"
input = 2.5
output = 10
reasoning = 20
"""
    assert by_what(card) == {
        "missing": [("large", ("large-[0-9]",)), ("small", ("small*",))],
        "different": [
            (
                "large",
                "large",
                [
                    ("input", "2.5", "2"),
                    ("cached_input", "2.5", "0.2"),
                    ("reasoning", "20", "10"),
                    ("calls.web_search", None, "10000"),
                    ("tier.priority", None, "5/3"),
                    ("long.above", None, "272000"),
                    ("long.input", None, "2"),
                    ("long.output", None, "1.5"),
                    ("batch", None, "0.5"),
                ],
            )
        ],
        "unknown": ["llama-*"],
    }


def test_the_default_is_no_row_for_a_model() -> None:
    card = 'unpriced = "default"\n[default]\ninput = 2\noutput = 10\n'
    assert [name for name, _ in by_what(card)["missing"]] == ["large", "small"]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType] - a list of pairs


def test_a_price_that_is_known_for_later_is_compared_for_later() -> None:
    cheaper = Terms(since=NEXT_YEAR, rates={"input": Fraction("0.05"), "output": Fraction("0.5")})
    small = PricedModel("small", ("small*",), (SMALL, cheaper), "")
    catalogue = Catalogue("the list 1.1", (small,))
    card = 'version = 2\n[[models]]\nmatch = "small*"\ninput = 0.1\noutput = 0.5\n'
    found = compare(catalogue, DOLLARS, read_rate_card(card), DAY)
    assert [(one.day, one.changes[0].new) for one in found.different] == [(NEXT_YEAR, "0.05")]
    card += f'[[models]]\nmatch = "small*"\nvalid_from = {NEXT_YEAR}\ninput = 0.05\noutput = 0.5\n'
    assert not compare(catalogue, DOLLARS, read_rate_card(card), DAY)


def test_a_name_that_only_spells_its_version_in_another_way_needs_no_row() -> None:
    model = PricedModel("gpt-6.1", ("gpt-6.1", "gpt-6-1", "gpt-6-2"), (SMALL,), "")
    card = 'version = 2\n[[models]]\nmatch = "gpt-6.1"\ninput = 0.1\noutput = 0.5\n'
    found = by_what(card, catalogue=Catalogue("the list", (model,)))
    assert found["missing"] == [("gpt-6.1", ("gpt-6-2",))]


def test_additions_fill_what_a_catalogue_lacks_and_keep_what_it_has() -> None:
    audio = PricedModel(
        "gpt-4o-audio-preview",
        ("gpt-4o-audio-preview*",),
        (Terms(since=None, rates={"audio_input": Fraction(7)}, fees={"web_search": Fraction(1)}),),
        "",
    )
    filled = {model.name: model for model in with_additions(Catalogue("x", (audio,))).models}
    (terms,) = filled["gpt-4o-audio-preview"].history
    assert terms.rates == {"audio_input": 7, "audio_output": 80}
    assert terms.fees == {"web_search": 1, "code_interpreter": 30_000}
    assert "gpt-6.2-sol" in filled
