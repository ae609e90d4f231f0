"""The words in which a limit refuses a request, and when the next attempt succeeds.

Pure. What refuses is found by `books.limits`; here it becomes the error that a caller gets.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tokenbalance.errors import InsufficientQuota, LimitReached, RequestTooExpensive
from tokenbalance.model.limits import EVER, MINUTE, OPEN
from tokenbalance.proxy.limits.durations import shown_duration
from tokenbalance.proxy.limits.naming import limit_header, owner_of

if TYPE_CHECKING:
    from tokenbalance.books.limits import Refusal
    from tokenbalance.errors import ProxyError
    from tokenbalance.model import LimitState, Rules

REQUESTS: Final = "requests_per_minute"
_KINDS: Final = {
    REQUESTS: "requests",
    "tokens_per_minute": "tokens",
    "parallel_requests": "concurrent_requests",
}
"""The `type` of an error, where it is not the name of the limit."""
_WORDS: Final = {
    REQUESTS: "requests per min (RPM)",
    "tokens_per_minute": "tokens per min (TPM)",
    "tokens_per_day": "tokens per day (TPD)",
    "parallel_requests": "requests in progress",
    "credits_total": "credits in all",
}
_BUDGET: Final = "budget:"
_MILLISECOND: Final = timedelta(milliseconds=1)


def too_expensive(rules: Rules, needed: int) -> RequestTooExpensive:
    """Refuse a request that may not hold what it needs with the smallest output."""
    error = RequestTooExpensive(
        f"This request needs {needed} credits or more, and {owner_of(rules.subject)} may use"
        f" {rules.credits_per_request} for one request. Shorten it, or ask for less output."
    )
    error.headers = (limit_header(rules.subject, "credits_per_request"),)
    return error


def wait_ms(refusal: Refusal) -> int | None:
    """Return after how many milliseconds the request will fit; None: never by itself."""
    if refusal.fits_at is None:
        return None
    return max(-((refusal.limit.at - refusal.fits_at) // _MILLISECOND), 1)


def refused(refusal: Refusal, retry_after_ms: int | None, quota_status: int) -> ProxyError:
    """Make the error of a limit that has refused a request.

    Args:
        refusal: which limit, and what it was asked for.
        retry_after_ms: after which time another attempt is worthwhile; None: it never is.
        quota_status: of a key that has used up all of its credits.

    """
    limit = refusal.limit
    if limit.period == EVER:
        error: ProxyError = InsufficientQuota(_used_up(refusal), quota_status)
    else:
        again = "" if retry_after_ms is None else _again(retry_after_ms)
        kind = _KINDS.get(limit.name) or limit.name.partition(":")[0]
        error = LimitReached(_reached(refusal) + again, kind, retry_after_ms)
    error.headers = (*error.headers, limit_header(limit.subject, limit.name))
    return error


def again_in(state: LimitState, retry_after_ms: int) -> LimitReached:
    """Make the error of a rate of requests that is known to refuse for so long."""
    error = LimitReached(
        f"{_over(state)}: Limit {state.amount}, Used {state.used}, Requested 1."
        f"{_again(retry_after_ms)}",
        _KINDS[REQUESTS],
        retry_after_ms,
    )
    error.headers = (*error.headers, limit_header(state.subject, state.name))
    return error


def _reached(refusal: Refusal) -> str:
    limit = refusal.limit
    text = f"{_over(limit)}: Limit {limit.amount}, Used {limit.used + limit.reserved}, Requested"
    text += f" {refusal.needed}."
    if refusal.is_too_large:
        text += " It never fits, since even its smallest output is more than the limit."
    return text


def _used_up(refusal: Refusal) -> str:
    limit = refusal.limit
    return (
        f"Insufficient quota: this request needs {refusal.needed} credits, and of the"
        f" {limit.amount} credits of {owner_of(limit.subject)}, {limit.used} are used and"
        f" {limit.reserved} are held by requests in progress."
    )


def _over(limit: LimitState) -> str:
    if limit.name.startswith(_BUDGET):
        words = f"the budget `{limit.name.removeprefix(_BUDGET)}` of {limit.unit}"
    else:
        words = _WORDS.get(limit.name) or limit.name.replace("_", " ")
    return f"Rate limit reached for {owner_of(limit.subject)} on {words}"


def _again(milliseconds: int) -> str:
    return f" Please try again in {shown_duration(milliseconds)}."


def is_rate_of_requests(limit: LimitState) -> bool:
    """Whether it only regains with time what requests take, so that nothing shortens a wait."""
    return limit.unit == "requests" and limit.period == MINUTE


def is_of_parallel(limit: LimitState) -> bool:
    """Whether it counts what is in progress."""
    return limit.period == OPEN
