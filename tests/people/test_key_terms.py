"""What a key may do, and what of it a key gives to the keys that are made with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tokenbalance.people.key_errors import InvalidScopes, ScopesMissing
from tokenbalance.people.key_terms import KeyTerms, clean_scopes, earlier
from tokenbalance.people.limits import InvalidLimit, KeyLimits
from tokenbalance.people.tighter_limits import tighter

SOON = datetime(2030, 1, 1, tzinfo=UTC)
LATER = SOON + timedelta(days=1)
ALL = ("inference", "read", "manage")


def test_of_two_ends_the_earlier_counts_and_never_is_later_than_all() -> None:
    assert earlier(SOON, LATER) == earlier(LATER, SOON) == SOON
    assert earlier(None, SOON) == earlier(SOON, None) == SOON
    assert earlier(None, None) is None


def test_what_is_not_said_is_the_makers() -> None:
    maker = KeyTerms(
        scopes=ALL,
        expires_at=SOON,
        limits=KeyLimits(credits_total=5, models=("gpt-*",)),
        insufficient_status=429,
    )
    assert KeyTerms(scopes=ALL).within(maker) == maker
    assert KeyTerms(scopes=("read",), insufficient_status=402).within(maker) == KeyTerms(
        scopes=("read",),
        expires_at=maker.expires_at,
        limits=maker.limits,
        insufficient_status=402,
    )


def test_a_key_gives_no_scope_that_it_does_not_have() -> None:
    with pytest.raises(ScopesMissing) as refused:
        KeyTerms(scopes=ALL).within(KeyTerms(scopes=("manage",)))
    assert (refused.value.missing, refused.value.held) == (["inference", "read"], ("manage",))


@pytest.mark.parametrize(
    "terms",
    [
        KeyTerms(scopes=ALL, expires_at=SOON),
        KeyTerms(scopes=("manage",), expires_at=LATER),
        KeyTerms(scopes=("manage",), expires_at=None),
        KeyTerms(scopes=("manage",), expires_at=SOON, limits=KeyLimits(credits_total=6)),
        KeyTerms(scopes=("manage",), expires_at=SOON, limits=KeyLimits()),
        KeyTerms(
            scopes=("manage",), expires_at=SOON, limits=KeyLimits(credits_total=5, models=("o3",))
        ),
    ],
)
def test_terms_that_exceed_others_in_anything_are_not_within_them(terms: KeyTerms) -> None:
    limits = KeyLimits(credits_total=5, models=("gpt-*",))
    most = KeyTerms(scopes=("manage",), expires_at=SOON, limits=limits)
    assert not terms.is_within(most)
    assert most.is_within(most)


def test_of_each_limit_the_tighter_counts() -> None:
    wanted = KeyLimits(requests_per_minute=5, tokens_per_minute=50, parallel_requests=2)
    maker = KeyLimits(requests_per_minute=7, tokens_per_minute=40, credits_total=9)
    assert tighter(wanted, maker) == KeyLimits(
        requests_per_minute=5, tokens_per_minute=40, parallel_requests=2, credits_total=9
    )


@pytest.mark.parametrize(
    ("wanted", "maker"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-mini", "gpt-4o*"),
        ("gpt-4o-*", "gpt-*"),
        ("gpt-4?", "gpt-*"),
        ("gpt-[45]", "gpt-*"),
        ("gpt-4", "gpt-[45]"),
        ("gpt-4", "gpt-?"),
        ("gpt-*-mini", "gpt-*"),
        ("gpt-[45]*", "gpt-[45]*"),
    ],
)
def test_models_that_the_makers_cover_are_given(wanted: str, maker: str) -> None:
    given = tighter(KeyLimits(models=(wanted,)), KeyLimits(models=("o3", maker)))
    assert given.models == (wanted,)


@pytest.mark.parametrize(
    ("wanted", "maker"),
    [
        ("gpt-5", "gpt-4o"),
        ("*", "gpt-*"),
        ("gpt-4*", "gpt-4o*"),
        ("gpt-*", "gpt-?"),
        ("gpt-*", "gpt-[!x]"),
        ("gpt-[45]", "gpt-*]"),
        ("gpt-[45]", "gpt-[4]"),
        ("g*-4", "gpt-*"),
    ],
)
def test_models_that_the_makers_may_not_match_are_refused_by_name(wanted: str, maker: str) -> None:
    with pytest.raises(InvalidLimit, match=r"^models: .* not among") as refused:
        tighter(KeyLimits(models=(maker, wanted)), KeyLimits(models=(maker,)))
    assert refused.value.field == "models"


def test_scopes_are_kept_in_order_and_once() -> None:
    assert clean_scopes(["manage", "inference", "manage"]) == ("inference", "manage")
    for wrong in ([], ["inference", "write"], ["INFERENCE"]):
        with pytest.raises(InvalidScopes, match="inference, read, manage"):
            clean_scopes(wrong)
