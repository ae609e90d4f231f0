"""Estimate to hold: reserve the ceiling, or say what is missing. Nothing is sent before this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.errors import InsufficientQuota
from tokenbalance.ledger.rates import cap_within, minimum_for, wanted_for

if TYPE_CHECKING:
    from tokenbalance.ledger.book import Book
    from tokenbalance.model import Caller, Estimate, Hold, Purpose


@dataclass(frozen=True, slots=True)
class Admission:
    """A placed hold, and the output cap that it pays for."""

    hold: Hold
    output_cap: int | None
    """Tokens of each choice that the upstream must be told; None when nothing is to be told."""


async def place_hold(book: Book, caller: Caller, purpose: Purpose, estimate: Estimate) -> Admission:
    """Reserve what the request may cost, lowering its output cap to what the balance affords.

    Raises:
        InsufficientQuota: not even the input and the smallest output fit.

    """
    wanted, minimum = wanted_for(estimate), minimum_for(estimate)
    hold = await book.place(caller, purpose, wanted=wanted, minimum=minimum)
    if hold is None:
        funds = await book.funds(caller.account_id)
        needed = (
            minimum
            if funds.balance + funds.overdraft < minimum
            else min(wanted, funds.balance + funds.overdraft)
        )
        msg = (
            f"Insufficient balance: this request needs {needed} credits,"
            f" {max(funds.available, 0)} are available"
            f" (balance {funds.balance}, held by requests in progress {funds.held})."
        )
        raise InsufficientQuota(msg)
    return Admission(hold, _told_cap(estimate, hold))


def _told_cap(estimate: Estimate, hold: Hold) -> int | None:
    if estimate.cap_field is None:
        return None
    cap = cap_within(estimate, hold.amount)
    return None if cap == estimate.output_cap else cap
