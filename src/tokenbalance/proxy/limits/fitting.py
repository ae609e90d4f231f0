"""From the limits to what a request may use at most: its output is lowered, as the balance does it.

Pure. What other requests have open lowers nothing: only what this one could take by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.ceilings import minimum_for, paid_for, wanted_for
from tokenbalance.model.values import value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokenbalance.model import Estimate, LimitState, Policy, Rates, Rules

UNBOUNDED: Final = 2**62


@value
class Needs:
    """What a hold takes from each kind of limit: at most, and with the smallest output."""

    credits: int
    tokens: int
    least_credits: int
    least_tokens: int

    def of(self, unit: str) -> int:
        """What is taken of a unit."""
        return {"credits": self.credits, "tokens": self.tokens}.get(unit, 1)


def needs_of(estimate: Estimate, rates: Rates | None, limit: int = UNBOUNDED) -> Needs:
    """Return what a hold of an estimate takes; `limit` is the most that the account may hold."""
    return Needs(
        min(wanted_for(estimate, rates), limit),
        tokens_for(estimate),
        minimum_for(estimate, rates),
        minimum_for(estimate, None),
    )


def tokens_for(estimate: Estimate) -> int:
    """Tokens at most of a request: its input, all of its outputs, and those of second bills."""
    return wanted_for(estimate, None)


def lowered(
    estimate: Estimate, rates: Rates | None, *, credit_limit: int, token_limit: int
) -> Estimate:
    """Lower an estimate to what so many credits and tokens cover, at least its smallest output.

    Whether that is covered is not looked at: `Needs.least_of` says it.
    """
    if wanted_for(estimate, rates) > credit_limit >= minimum_for(estimate, rates):
        estimate = paid_for(estimate, credit_limit, rates)
    if tokens_for(estimate) > token_limit >= minimum_for(estimate, None):
        estimate = paid_for(estimate, token_limit, None)
    return estimate


def tightest_rule(policy: Policy) -> Rules | None:
    """Return the rules that let one request hold the fewest credits; None: none limit it."""
    limiting = [rules for rules in policy.rules if rules.credits_per_request is not None]
    return min(limiting, key=lambda rules: rules.credits_per_request or 0, default=None)


def fitted(
    estimate: Estimate, rates: Rates | None, states: Iterable[LimitState], credit_limit: int
) -> Estimate:
    """Lower an estimate to what its account and each of its limits could give it.

    Args:
        estimate: the ceiling of a request.
        rates: what its usage costs.
        states: what limits have left.
        credit_limit: the most that the account may hold.

    """
    states, needs = tuple(states), needs_of(estimate, rates)
    return lowered(
        estimate,
        rates,
        credit_limit=min(_most(states, "credits", needs.least_credits), credit_limit),
        token_limit=_most(states, "tokens", needs.least_tokens),
    )


def _most(states: Iterable[LimitState], unit: str, least: int) -> int:
    """What a hold could take of a unit if no other request were in progress.

    A window that has less left than the least makes it wait for the next, which has all of it.
    """
    return min(
        (
            state.spendable if state.spendable >= least else state.amount
            for state in states
            if state.unit == unit
        ),
        default=UNBOUNDED,
    )
