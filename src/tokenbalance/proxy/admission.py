"""From the estimate to the hold: reserve the ceiling, wait for it, or say what is missing.

Nothing is sent upstream before this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.ceilings import dearest_calls, paid_for, tokens_of
from tokenbalance.books.pricing.rates import AMOUNT_MAX
from tokenbalance.errors import BalanceHeld, InsufficientQuota
from tokenbalance.model import Usage
from tokenbalance.model.values import value
from tokenbalance.people.callers import EndedKey
from tokenbalance.proxy.asked import Unaffordable, is_ample

if TYPE_CHECKING:
    from tokenbalance.books.holds.waiting import Waiters
    from tokenbalance.books.ledger.book import Book, Funds
    from tokenbalance.model import Caller, Claim, Document, Estimate, Hold, Rates
    from tokenbalance.proxy.asked import Asked
    from tokenbalance.proxy.ending import Ending

RETRY_AFTER_MAX_S: Final = 30
"""Above 60 s the SDKs ignore a `retry-after`."""


@value
class Admission:
    """A placed hold, and what of the request it pays for."""

    hold: Hold
    ceiling: Usage
    """What the request may use at most; the hold covers its charge."""
    edits: Document
    """Fields of the request that limit the upstream to it."""
    output_cap: int | None
    """Tokens of each choice, where that limit was lowered or set."""
    calls_cap: int | None
    """Calls of hosted tools, where the client has not set a lower limit itself."""
    sent_cap: int | None
    """Tokens of each choice, whoever has set that limit; None: the request has none."""


@dataclass(frozen=True, slots=True)
class Admissions:
    """Where holds are placed, and how long a request may wait for one."""

    book: Book
    waiters: Waiters
    wait_s: float
    insufficient_status: int = InsufficientQuota.status
    """Of requests that the balance does not cover, unless their key has its own."""

    def refuse_empty(self, caller: Caller) -> None:
        """Refuse a caller whose account cannot pay for anything, whatever its open holds give back.

        Every hold takes at least one credit, so this needs nothing of the request but its caller.

        Raises:
            InsufficientQuota: neither its balance nor its overdraft leaves a credit.

        """
        if caller.limit <= 0:
            held = caller.limit - caller.available
            msg = (
                "Insufficient balance: this request needs 1 credit or more, 0 are available"
                f" (balance {caller.balance}, held by requests in progress {held})."
            )
            raise InsufficientQuota(msg, self.insufficient_status_of(caller))

    async def counted(self, asked: Asked) -> Estimate:
        """The ceiling with its text counted, as far as the account can pay for it.

        Raises:
            InsufficientQuota: the balance does not cover it, whatever its count is.

        """
        if asked.is_quickly_counted or asked.claim(asked.bound).minimum <= asked.caller.available:
            return await asked.counted()
        funds = await self.funds_of(asked.caller)
        try:
            return await asked.counted(max(funds.limit, 0))
        except Unaffordable as error:
            raise self._insufficient(asked, f"more than {error.more_than}", funds) from None

    async def hold_at_once(self, ending: Ending, available: int) -> Admission | None:
        """Reserve what the request may cost, for a caller who was not looked up for it.

        It is held in full or not at all, so that what the account had before caps nothing.

        Args:
            ending: of the request.
            available: credits that the account had for holds when that was last seen. They only
                decide whether this is worth a try, and whether a short text is counted for it.

        Returns:
            None when the caller must be looked up: it does not fit at this moment or may not in
            full, a long text has to be counted, or the key has ended.

        """
        asked = ending.asked
        estimate = asked.bound
        claim = asked.claim(estimate)
        if claim.wanted > min(available, AMOUNT_MAX - 1):
            return None
        if not is_ample(claim.wanted, available):
            if not asked.is_quickly_counted:
                return None
            estimate = await asked.counted()
            claim = asked.claim(estimate)
        hold = await ending.place(self.book, claim.undivided)
        return None if hold is None else admission_of(asked, estimate, estimate, hold)

    async def try_hold(self, ending: Ending, estimate: Estimate) -> Admission | None:
        """Reserve what the request may cost, lowering its output cap to what the balance affords.

        Returns:
            None when it does not fit at this moment.

        Raises:
            EndedKey: the key has ended since it was looked up, or its user was disabled.
            InsufficientQuota: the balance covered too little then, and still does.

        """
        asked = ending.asked
        claim = asked.claim(estimate)
        if claim.minimum > asked.caller.limit:
            await self.require_covered(asked, estimate)
        if estimate.unasked_cap is not None and asked.caller.available < claim.wanted:
            funds = await self.book.funds(asked.caller.account_id)
            claim = asked.claim(estimate, funds.limit)
        hold = await ending.place(self.book, claim)
        return None if hold is None else lowered_admission(asked, estimate, estimate, hold)

    async def require_covered(self, asked: Asked, estimate: Estimate) -> None:
        """Make sure that the balance covers the least of a request.

        Reading what is there costs less than a hold that cannot be placed.

        Raises:
            EndedKey: the key has ended since it was looked up, or its user was disabled.
            InsufficientQuota: the balance does not cover the input and the smallest output.

        """
        funds = await self.funds_of(asked.caller)
        self._require_enough(asked, asked.claim(estimate, funds.limit), funds)

    async def wait_for_hold(
        self, ending: Ending, estimate: Estimate, fitted: Estimate | None = None
    ) -> Admission:
        """Wait for other open holds of the account, where the request would fit without them.

        Args:
            ending: of the request.
            estimate: its ceiling, as it asks for it.
            fitted: what of that limits allow; None: all.

        Raises:
            EndedKey: the key has ended since it was looked up, or its user was disabled.
            InsufficientQuota: the balance does not cover the input and the smallest output.
            BalanceHeld: it does, but requests in progress held it for as long as one may wait.

        """
        asked = ending.asked
        caller = asked.caller
        fitted = estimate if fitted is None else fitted
        funds = await self.funds_of(caller)
        claim = asked.claim(fitted, funds.limit)
        if funds.limit >= claim.minimum and self.wait_s > 0:
            hold = await self.waiters.place(
                caller,
                claim,
                lambda position: ending.place(self.book, claim, position),
                self.wait_s,
            )
            if hold is not None:
                return lowered_admission(asked, estimate, fitted, hold)
            funds = await self.funds_of(caller)
        self._require_enough(asked, claim, funds)
        raise BalanceHeld(_what_is_held(claim, funds), await self.retry_after_s(caller.account_id))

    def _require_enough(self, asked: Asked, claim: Claim, funds: Funds) -> None:
        if funds.limit < claim.minimum:
            raise self._insufficient(asked, claim.minimum, funds)

    async def funds_of(self, caller: Caller) -> Funds:
        """Read what the account of a caller has.

        Raises:
            EndedKey: the key has ended since it was looked up, or its user was disabled.

        """
        funds = await self.book.funds_of(caller)
        if funds is None:
            raise EndedKey(caller.key_id)
        return funds

    def _insufficient(self, asked: Asked, needed: int | str, funds: Funds) -> InsufficientQuota:
        msg = f"Insufficient balance: {_compared(needed, funds)}"
        if asked.bound.assumed:
            msg += (
                " What the request reads that is stored upstream could not be counted, so that the"
                f" model's whole context window is held for it: {asked.bound.assumed} tokens."
            )
        return InsufficientQuota(msg, self.insufficient_status_of(asked.caller))

    def insufficient_status_of(self, caller: Caller) -> int:
        """The status of what its balance, or that of its key, does not cover."""
        return caller.insufficient_status or self.insufficient_status

    async def retry_after_s(self, account_id: int) -> int:
        """Estimate after how many seconds a retry is worthwhile.

        Nobody knows how long a response takes. But waiting requests go first, so a retry at once is
        pointless where many wait: one second for each of them.
        """
        return min(max(await self.book.waiting(account_id), 1), RETRY_AFTER_MAX_S)


def _what_is_held(claim: Claim, funds: Funds) -> str:
    needed = min(claim.wanted, funds.limit)
    return f"Requests in progress hold the balance: {_compared(needed, funds)}"


def _compared(needed: int | str, funds: Funds) -> str:
    return (
        f"this request needs {needed} credits, {max(funds.available, 0)} are available"
        f" (balance {funds.balance}, held by requests in progress {funds.held})."
    )


def lowered_admission(asked: Asked, estimate: Estimate, fitted: Estimate, hold: Hold) -> Admission:
    """Return what a hold pays for.

    Args:
        asked: the request.
        estimate: its ceiling, as it asks for it.
        fitted: what of that limits allow.
        hold: what was placed for that.

    """
    return admission_of(asked, estimate, paid_for(fitted, hold.amount, hold.rates), hold)


def admission_of(asked: Asked, estimate: Estimate, paid: Estimate, hold: Hold) -> Admission:
    """Return what a hold pays for, where that is known: `paid`, of all that is asked for."""
    output_cap = paid.output_cap if paid.output_cap < estimate.output_cap else None
    calls_cap = _calls_cap(paid)
    edits: Document = {}
    if estimate.tells_cap or output_cap is not None:
        edits |= dict.fromkeys(estimate.cap_fields, paid.output_cap)
    if calls_cap is not None:
        edits["max_tool_calls"] = calls_cap
    ceiling = _most(paid, hold.rates)
    limits = edits if estimate.tells_cap or output_cap is not None else asked.document
    sent_cap = None
    for field in estimate.cap_fields:
        if limits.get(field) is not None:
            sent_cap = paid.output_cap
    return Admission(hold, ceiling, edits, output_cap, calls_cap, sent_cap)


def _most(paid: Estimate, rates: Rates | None) -> Usage:
    """What the request may use at most, without what no report has in any case."""
    usage = Usage.counted(paid.input_tokens, paid.choices * paid.output_cap)
    more = (*dearest_calls(paid, rates), *paid.more)
    if not more:
        return usage
    quantities = {**usage.quantities, **dict(more)}
    return Usage(quantities, usage.total + tokens_of(more), estimated=usage.estimated)


def _calls_cap(paid: Estimate) -> int | None:
    calls = paid.calls
    if calls is None or (calls.asked is not None and calls.asked <= calls.most):
        return None
    return calls.most
