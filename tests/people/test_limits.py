from __future__ import annotations

from typing import Any

import pytest

from tokenbalance.people.limits import LIMIT_MAX, InvalidLimit, KeyLimits

NUMBERS = ("requests_per_minute", "tokens_per_minute", "parallel_requests", "credits_total")


def test_limits_are_written_and_read_again() -> None:
    limits = KeyLimits(requests_per_minute=1, credits_total=LIMIT_MAX, models=("gpt-4o-*", "o3"))

    document = limits.as_document()

    assert document == {
        "requests_per_minute": 1,
        "credits_total": LIMIT_MAX,
        "models": ["gpt-4o-*", "o3"],
    }
    assert KeyLimits.from_document(document) == limits
    assert KeyLimits().as_document() == {}
    assert KeyLimits.from_document(dict.fromkeys(NUMBERS)) == KeyLimits()


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, LIMIT_MAX + 1, 10**30, True, 1.0, "1", [1]])
def test_a_number_that_makes_no_sense_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidLimit) as refusal:
        KeyLimits.from_document({field: value})
    assert refusal.value.field == field
    assert str(refusal.value).startswith(f"{field}: ")


@pytest.mark.parametrize(
    "value",
    [[], "gpt-4o", 1, {}, [""], ["a b"], ["a\0"], ["\ud800"], [1], ["x" * 201], ["x"] * 101],
)
def test_models_that_make_no_sense_are_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidLimit, match=r"^models: "):
        KeyLimits.from_document({"models": value})


def test_an_unknown_limit_is_refused_by_name() -> None:
    with pytest.raises(InvalidLimit, match=r"^requests_per_day: is not a known limit") as refusal:
        KeyLimits.from_document({"requests_per_day": 1})
    assert refusal.value.field == "requests_per_day"
