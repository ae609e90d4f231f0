"""Which limit refuses a claim, and when the claim will fit.

Pure. It explains what the placing statement has decided, by the same arithmetic; it must never
decide anything itself.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tokenbalance.model.limits import MINUTE
from tokenbalance.model.values import value

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from tokenbalance.model.limits import LimitState

MINUTE_US: Final = 60_000_000
COUNTED_MAX: Final = 10**11
"""More than this counts as this, in one hold: so that no product is too large."""


@value
class Refusal:
    """A limit that a claim does not fit into at this moment."""

    limit: LimitState
    needed: int
    """In the unit of the limit."""
    fits_at: datetime | None
    """The moment from which on it fits, if nothing else is taken meanwhile, by the database's
    clock; None: never by itself."""
    is_held: bool
    """Only open holds keep it from fitting: it may wait for them, and fits as soon as they end;
    `fits_at` is when it does so at the latest."""

    @property
    def is_too_large(self) -> bool:
        """It would not even fit into the whole limit."""
        return self.needed > self.limit.amount


def refusal_of(states: Iterable[LimitState], credits_: int, tokens: int) -> Refusal | None:
    """Find the limit that refuses a claim.

    Of several it is the tightest: one that will never let it pass, else the one that lets it pass
    last, else one that only open holds keep. Of equals it is the first, in the order of the states.

    Args:
        states: as `Book.limits_of` returns them.
        credits_: what the hold would take.
        tokens: likewise.

    Returns:
        None if it fits into all of them.

    """
    refusals = (_refusal(state, credits_, tokens) for state in states)
    return max((found for found in refusals if found is not None), key=_tightness, default=None)


def _tightness(refusal: Refusal) -> tuple[int, datetime]:
    if refusal.is_held:
        return 0, refusal.limit.at
    if refusal.fits_at is None:
        return 2, refusal.limit.at
    return 1, refusal.fits_at


def _refusal(state: LimitState, credits_: int, tokens: int) -> Refusal | None:
    needed = {"credits": credits_, "tokens": min(tokens, COUNTED_MAX)}.get(state.unit, 1)
    if needed == 0:
        return None
    if needed > state.amount:
        return Refusal(state, needed, None, is_held=False)
    if state.period == MINUTE:
        fits_at = _fits_at(state, needed)
        return Refusal(state, needed, fits_at, is_held=False) if fits_at > state.at else None
    if needed > state.spendable:
        return Refusal(state, needed, state.resets_at, is_held=False)
    if needed > state.remaining:
        return Refusal(state, needed, state.resets_at, is_held=True)
    return None


def _fits_at(state: LimitState, needed: int) -> datetime:
    full_at = state.at if state.resets_at is None else state.resets_at
    return full_at + timedelta(microseconds=span_us(needed, state.amount) - MINUTE_US)


def span_us(number: int, amount: int) -> int:
    """In how much time a rate regains what is taken, in microseconds; as the statements have it."""
    return number * MINUTE_US // max(amount, 1)
