"""Estimate to hold: reserve the ceiling, wait for it, or say what is missing.

Nothing is sent before this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.rates import affordable, minimum_for, paid_for, wanted_for
from tokenbalance.errors import BalanceHeld, InsufficientQuota
from tokenbalance.model import Claim, Usage

if TYPE_CHECKING:
    from tokenbalance.books.holds.leases import Lease
    from tokenbalance.books.holds.waiting import Waiters
    from tokenbalance.books.ledger.book import Book, Funds
    from tokenbalance.model import Document, Estimate, Hold, Rates

RETRY_AFTER_MAX_S: Final = 30
"""Beyond 60 s the SDKs do not wait as long as they are told."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A placed hold, and what of the request it pays for."""

    hold: Hold
    ceiling: Usage
    """What the request may use at most; the hold covers its charge."""
    told: Document
    """Fields of the request by which the upstream is told so."""
    output_cap: int | None
    """Tokens of each choice, where they had to be lowered."""
    calls_cap: int | None
    """Calls of hosted tools, where the client has not set them lower itself."""


@dataclass(frozen=True, slots=True)
class Admissions:
    """Where holds are placed, and how long a request may wait for one."""

    book: Book
    waiters: Waiters
    wait_s: float
    insufficient_status: int = InsufficientQuota.status
    """Of requests that the balance does not cover, where their key says nothing else."""

    async def try_hold(self, lease: Lease, estimate: Estimate) -> Admission | None:
        """Reserve what the request may cost, lowering its output cap to what the balance affords.

        Returns:
            None when it does not fit at this moment.

        """
        claim = claim_for(estimate, lease.purpose.rates)
        if estimate.unasked_cap is not None and lease.caller.available < claim.wanted:
            funds = await self.book.funds(lease.caller.account_id)
            claim = claim_of(funds.limit, estimate, lease.purpose.rates)
        hold = await lease.place(self.book, claim)
        return None if hold is None else _admission(estimate, hold)

    async def wait_for_hold(self, lease: Lease, estimate: Estimate) -> Admission:
        """Wait for other open holds of the account where the request fits but for them.

        Raises:
            InsufficientQuota: the balance does not cover the input and the smallest output.
            BalanceHeld: it does, and requests in progress held it for as long as one may wait.

        """
        account_id = lease.caller.account_id
        funds = await self.book.funds(account_id)
        claim = claim_of(funds.limit, estimate, lease.purpose.rates)
        if funds.limit >= claim.minimum and self.wait_s > 0:
            hold = await self.waiters.place(
                account_id,
                claim,
                lambda position: lease.place(self.book, claim, position),
                self.wait_s,
            )
            if hold is not None:
                return _admission(estimate, hold)
            funds = await self.book.funds(account_id)
        if funds.limit < claim.minimum:
            status = lease.caller.insufficient_status or self.insufficient_status
            raise InsufficientQuota(_what_is_missing(claim, funds), status)
        raise BalanceHeld(_what_is_held(claim, funds), await self._retry_after_s(account_id))

    async def _retry_after_s(self, account_id: int) -> int:
        """Tell in how many seconds it is worth another try.

        Nobody knows how long an answer takes. But who stands in line goes first, so that it makes
        no sense to come back at once where many do: a second for each of them.
        """
        return min(max(await self.book.waiting(account_id), 1), RETRY_AFTER_MAX_S)


def claim_for(estimate: Estimate, rates: Rates | None) -> Claim:
    """Turn the ceiling of a request into what it asks its account for."""
    return Claim(
        wanted_for(estimate, rates),
        minimum_for(estimate, rates),
        estimate.known_input,
        estimate.choices * estimate.output_cap,
    )


def claim_of(limit: int, estimate: Estimate, rates: Rates | None) -> Claim:
    """What a request asks of an account whose holds may take `limit` credits at most."""
    return claim_for(affordable(estimate, limit, rates), rates)


def _what_is_missing(claim: Claim, funds: Funds) -> str:
    return f"Insufficient balance: {_compared(claim.minimum, funds)}"


def _what_is_held(claim: Claim, funds: Funds) -> str:
    needed = min(claim.wanted, funds.limit)
    return f"Requests in progress hold the balance: {_compared(needed, funds)}"


def _compared(needed: int, funds: Funds) -> str:
    return (
        f"this request needs {needed} credits, {max(funds.available, 0)} are available"
        f" (balance {funds.balance}, held by requests in progress {funds.held})."
    )


def _admission(estimate: Estimate, hold: Hold) -> Admission:
    paid = paid_for(estimate, hold.amount, hold.rates)
    inputs, outputs = paid.input_tokens, paid.choices * paid.output_cap
    output_cap = paid.output_cap if paid.output_cap < estimate.output_cap else None
    calls_cap = _calls_cap(paid)
    told: Document = {}
    if estimate.tells_cap or output_cap is not None:
        told |= dict.fromkeys(estimate.cap_fields, paid.output_cap)
    if calls_cap is not None:
        told["max_tool_calls"] = calls_cap
    ceiling = Usage(input=inputs, output=outputs, total=inputs + outputs, estimated=True)
    return Admission(hold, ceiling, told, output_cap, calls_cap)


def _calls_cap(paid: Estimate) -> int | None:
    calls = paid.calls
    if calls is None or (calls.asked is not None and calls.asked <= calls.most):
        return None
    return calls.most
