from __future__ import annotations

import pytest

from tokenbalance.books.pricing.catalogue.patterns import covers, glob_of, literal, ordered, sample
from tokenbalance.books.pricing.catalogue.terms import CatalogueError, PricedModel


def model(name: str, *patterns: str) -> PricedModel:
    return PricedModel(name, patterns, (), "")


def test_a_dated_snapshot_is_digits_in_a_pattern() -> None:
    day = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
    assert glob_of(r"^gpt-6\.1-sol-\d{4}-\d{2}-\d{2}$") == f"gpt-6.1-sol-{day}"
    assert [glob_of(one) for one in ("^o", "o1$", r"o\d")] == ["o*", "*o1", "*o[0-9]*"]


@pytest.mark.parametrize("regex", ["^o[134]", "^gpt-(5|6)$", "^gpt.5$", "gpt-5+", "a|b"])
def test_what_a_pattern_cannot_say_is_an_error(regex: str) -> None:
    with pytest.raises(CatalogueError, match="cannot be written as a pattern"):
        glob_of(regex)


@pytest.mark.parametrize("name", ["", "gpt-*", "gpt-?", "gpt-[4]"])
def test_a_name_with_a_wildcard_in_it_is_an_error(name: str) -> None:
    with pytest.raises(CatalogueError, match="cannot be written as a pattern"):
        literal(name)


def test_a_sample_of_a_pattern_is_matched_by_it() -> None:
    assert [sample(one) for one in ("gpt-5", "gpt-5-*", "*moderation*", "o[0-9]")] == [
        *("gpt-5", "gpt-5-", "moderation", "o0"),
    ]


def test_a_general_pattern_covers_a_special_one_and_never_the_reverse() -> None:
    assert covers("gpt-4o*", "gpt-4o-mini*")
    assert covers("gpt-4o-[0-9]*", "gpt-4o-2024")
    assert not covers("gpt-4o-mini*", "gpt-4o*")
    assert not covers("gpt-4o", "gpt-4o*")


def test_a_special_model_comes_before_a_general_one_that_would_hide_it() -> None:
    rows = ordered([model("all", "gpt-4o*"), model("b", "b"), model("mini", "gpt-4o-mini*")])
    assert [row.name for row in rows] == ["mini", "all", "b"]


def test_a_pattern_that_cannot_match_is_left_out() -> None:
    rows = ordered(
        [
            model("one", "a-1", "a-*", "a-*"),
            model("other", "a-2", "c"),
            model("third", "c"),
        ]
    )
    # `a-2` stands before `a-*`, which is of another model.
    assert [(row.name, row.patterns) for row in rows] == [
        ("other", ("a-2", "c")),
        ("one", ("a-*",)),
    ]
