"""What an error says to programs: whether to try again, and when."""

from __future__ import annotations

import pytest

from tokenbalance.errors import (
    BalanceHeld,
    HeadTooLarge,
    InsufficientQuota,
    InvalidApiKey,
    InvalidJson,
    ModelNotFound,
    NotAllowed,
    ProxyError,
    RequestTimeout,
    RequestTooLarge,
    ServiceUnavailable,
    TooManyAttempts,
    UpstreamAuth,
    UpstreamIncomplete,
    UpstreamNotConfigured,
    UpstreamQuota,
    UpstreamTimeout,
    UpstreamUnavailable,
    headers_of,
)
from tokenbalance.people.passwords import Busy
from tokenbalance.web.api.domain import response_to


@pytest.mark.parametrize(
    "kind",
    [
        InvalidJson,
        RequestTooLarge,
        HeadTooLarge,
        InvalidApiKey,
        InsufficientQuota,
        NotAllowed,
        ModelNotFound,
        UpstreamIncomplete,
        UpstreamAuth,
        UpstreamQuota,
        UpstreamNotConfigured,
    ],
)
def test_what_would_be_refused_again_says_so(kind: type[ProxyError]) -> None:
    headers = dict(headers_of(kind("No.")))
    assert headers[b"x-should-retry"] == b"false"
    assert b"retry-after" not in headers


@pytest.mark.parametrize(
    "error",
    [
        ProxyError("A fault."),
        RequestTimeout("Too slow."),
        TooManyAttempts(5),
        BalanceHeld("Busy.", 5),
        ServiceUnavailable(),
        UpstreamUnavailable("Away."),
        UpstreamTimeout("Silent."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_time_mends_may_be_tried_again(error: ProxyError) -> None:
    assert b"x-should-retry" not in dict(headers_of(error))


@pytest.mark.parametrize("error", [TooManyAttempts(5), BalanceHeld("Busy.", 5)])
def test_who_comes_too_often_is_told_when_to_come_back(error: ProxyError) -> None:
    assert (b"retry-after", b"5") in headers_of(error)
    assert "in 5 s" in error.message


def test_a_balance_that_is_too_low_is_final_as_a_429_too() -> None:
    error = InsufficientQuota("Too low.", 429)
    assert (error.status, error.code) == (429, "insufficient_quota")
    assert headers_of(error) == ((b"x-should-retry", b"false"),)


def test_headers_of_an_error_keep_their_own() -> None:
    assert headers_of(InvalidApiKey("Who?")) == (
        (b"www-authenticate", b"Bearer"),
        (b"x-should-retry", b"false"),
    )


def test_a_sign_in_that_finds_no_place_says_nothing_of_charges() -> None:
    error = response_to(Busy("too many people are signing in at the moment; try again"))
    assert error is not None
    assert (error.status, error.code) == (503, "service_unavailable")
    assert error.message == "Too many people are signing in at the moment; try again."
    assert (b"retry-after", b"1") in headers_of(error)
