"""What the limits of a key would make of a request at this moment; nothing is taken from them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tokenbalance.books.limits import refusal_of
from tokenbalance.model.values import value
from tokenbalance.proxy.limits.end_users import policy_for
from tokenbalance.proxy.limits.fitting import (
    UNBOUNDED,
    Needs,
    fitted,
    needs_of,
    tightest_rule,
)
from tokenbalance.proxy.limits.naming import limit_name
from tokenbalance.proxy.limits.refusals import too_expensive, wait_ms
from tokenbalance.proxy.limits.rules import check_asked, check_endpoint

if TYPE_CHECKING:
    from tokenbalance.model import Estimate, LimitState, Policy
    from tokenbalance.proxy.asked import Asked


@value
class QuotedLimit:
    """What a counted limit has left."""

    name: str
    """Subject and limit, such as `key.tokens_per_minute`."""
    unit: str
    amount: int
    remaining: int


@value
class Within:
    """What limits would make of a request."""

    estimate: Estimate
    """What of its ceiling they allow."""
    limit: str | None
    """The one that would refuse it, or else lower its output."""
    retry_after_ms: int | None
    is_admitted: bool
    """None of them would refuse it."""
    waits: bool
    """It would wait for requests in progress first."""
    limits: tuple[QuotedLimit, ...]


def judged(asked: Asked, path: bytes) -> Asked:
    """Check a request by the rules of its key, and bind it to the end user whom its body names.

    Args:
        asked: the request.
        path: raw, below `/v1`.

    Raises:
        EndpointNotAllowed, ModelNotAllowed, ServiceTierNotAllowed, ToolNotAllowed: a rule forbids
            it.

    """
    caller = asked.caller
    if caller.policy is None:
        return asked
    policy = policy_for(caller.key_id, caller.policy, [], asked.document)
    check_endpoint(policy, asked.operation, path)
    check_asked(policy, asked)
    return replace(asked, caller=replace(caller, policy=policy))


def within_limits(
    asked: Asked, estimate: Estimate, states: tuple[LimitState, ...], credit_limit: int
) -> Within:
    """Predict what `LimitedAdmissions` would do.

    Args:
        asked: the request, whose key is limited.
        estimate: its ceiling.
        states: what its limits have left.
        credit_limit: the most that the account may hold.

    Raises:
        RequestTooExpensive: its key may not use so much for one request.

    """
    policy = asked.caller.policy
    rule = None if policy is None else tightest_rule(policy)
    most = UNBOUNDED if rule is None else rule.credits_per_request or 0
    needs = needs_of(estimate, asked.rates)
    if rule is not None and needs.least_credits > most:
        raise too_expensive(rule, needs.least_credits)
    within = fitted(estimate, asked.rates, states, min(most, max(credit_limit, 0)))
    taken = needs_of(within, asked.rates, max(credit_limit, 0))
    refusal = refusal_of(states, needs.least_credits, needs.least_tokens)
    if refusal is None or refusal.is_held or refusal.fits_at is not None:
        refusal = refusal_of(states, taken.credits, taken.tokens) or refusal
    name = _lowering(policy, needs, states)
    if refusal is not None:
        name = limit_name(refusal.limit.subject, refusal.limit.name)
    return Within(
        within,
        name,
        None if refusal is None else wait_ms(refusal),
        is_admitted=refusal is None,
        waits=refusal is not None and refusal.is_held,
        limits=tuple(
            QuotedLimit(
                limit_name(state.subject, state.name), state.unit, state.amount, state.remaining
            )
            for state in states
        ),
    )


def _lowering(policy: Policy | None, needs: Needs, states: tuple[LimitState, ...]) -> str | None:
    """The limit that lowers an output most; None if none does."""
    rule = None if policy is None else tightest_rule(policy)
    shares: dict[str, float] = {}
    if rule is not None and rule.credits_per_request is not None:
        name = limit_name(rule.subject, "credits_per_request")
        shares[name] = rule.credits_per_request / needs.credits
    for state in states:
        shares[limit_name(state.subject, state.name)] = state.spendable / needs.of(state.unit)
    name = min(shares, key=lambda each: shares[each], default=None)
    return name if name is not None and shares[name] < 1 else None
