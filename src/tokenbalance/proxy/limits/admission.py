"""From the estimate to the hold of a limited key: as for others, and within all that limits it.

    at once      a remembered key: in full, or the key is looked up
    in full      what the request asks for, if no limit of one request is below it
    lowered      what limits allow at most, if nothing else were in progress: the books are read
    refused      not even the smallest output fits, or not yet
    waiting      only requests in progress are in the way: of the key, or of its account

The statement of the hold alone decides; what is read explains it, and says what to try.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from tokenbalance.books.limits import refusal_of
from tokenbalance.books.pricing.ceilings import minimum_for
from tokenbalance.books.pricing.rates import AMOUNT_MAX
from tokenbalance.errors import ProxyError, RequestTooExpensive
from tokenbalance.proxy.admission import admission_of, lowered_admission
from tokenbalance.proxy.limits.fitting import (
    UNBOUNDED,
    fitted,
    lowered,
    needs_of,
    tightest_rule,
    tokens_for,
)
from tokenbalance.proxy.limits.headers import rate_headers, rooms_of
from tokenbalance.proxy.limits.refusals import (
    is_rate_of_requests,
    refused,
    too_expensive,
    wait_ms,
)

if TYPE_CHECKING:
    from tokenbalance.books.limits import Refusal
    from tokenbalance.model import Caller, Claim, Estimate, Hold, LimitState, Policy, Room
    from tokenbalance.proxy.admission import Admission, Admissions
    from tokenbalance.proxy.asked import Asked
    from tokenbalance.proxy.ending import Ending
    from tokenbalance.proxy.limits.storms import Storms
    from tokenbalance.wire.client.request import ClientRequest

    States = tuple[LimitState, ...]

Key = TypeVar("Key")

AMPLE_TOKENS: Final = 100
"""With so many times the bound by bytes left, nobody needs the count, which is a quarter of it."""
FITTED_MAX: Final = 5
"""How often a request is lowered again at once, because others have used what it was lowered to."""
KEYS_MAX: Final = 8192
"""Of how many keys, and end users, something is remembered."""


class _Unexplained(Exception):
    """A hold was not placed although limits have room for it, as where its key has changed."""


@dataclass(frozen=True, slots=True)
class LimitedAdmissions:
    """Where the holds of limited keys are placed."""

    admissions: Admissions
    storms: Storms
    _tokens_left: dict[int, int] = field(default_factory=dict)
    """What limits had left for tokens when that was last seen, by key: a hint."""
    _end_users: dict[tuple[int, str], int] = field(default_factory=dict)
    """The version of the limits that were written for an end user, by key and subject."""

    async def hold_at_once(self, ending: Ending, available: int) -> Admission | None:
        """Reserve what the request may cost, in full, for a caller who was not looked up for it.

        Args:
            ending: of the request.
            available: credits that the account had for holds when that was last seen.

        Returns:
            None when the caller must be looked up.

        """
        asked = ending.asked
        estimate = asked.bound
        if not self._is_ample(asked, available):
            if not asked.is_quickly_counted:
                return None
            estimate = await asked.counted()
        claim = asked.claim(estimate)
        if claim.wanted > min(available, AMOUNT_MAX - 1, _most_credits(_policy_of(asked.caller))):
            return None
        await self._open_end_user(asked.caller)
        hold = await ending.place(self.admissions.book, claim.undivided)
        if hold is None:
            return None
        self._note(asked.caller, hold.rooms)
        return admission_of(asked, estimate, estimate, hold)

    async def try_hold(self, request: ClientRequest, ending: Ending) -> Admission | None:
        """Reserve what the request may cost, for a caller who was looked up for it.

        Returns:
            None when it does not fit in full.

        Raises:
            EndedKey, InsufficientQuota: as `Admissions.try_hold` does.

        """
        asked = ending.asked
        await self._open_end_user(asked.caller)
        estimate = await self._estimate(request, asked)
        try:
            within = self._within_rules(asked, estimate)
        except RequestTooExpensive:
            # `hold_lowered` refuses it, with what is left of other limits.
            return None
        if minimum_for(within, asked.rates) > asked.caller.limit:
            await self.admissions.require_covered(asked, within)
        return await self._place(ending, estimate, within, asked.claim(within))

    async def hold_lowered(self, request: ClientRequest, ending: Ending) -> Admission | None:
        """Reserve what limits allow of what the request asks for, or say which one refuses.

        Returns:
            None where the hold was not placed although everything seems to allow it: its key has
            to be looked up once more.

        Raises:
            EndedKey, InsufficientQuota, BalanceHeld: as `Admissions.wait_for_hold` does.
            RequestTooExpensive: its key may not use so much for one request.
            LimitReached: a limit leaves no room for it, or none in time.

        """
        asked = ending.asked
        caller = asked.caller
        await self._open_end_user(caller)
        states = await self.admissions.book.limits_of(caller)
        try:
            estimate = await self._counted(request, asked)
            within = self._fitted(asked, estimate, states)
            for _ in range(FITTED_MAX):
                claim = asked.claim(within)
                admission = await self._place(ending, estimate, within, claim)
                if admission is not None:
                    return admission
                states = await self.admissions.book.limits_of(caller)
                refusal = _refusal(states, caller, claim)
                if refusal is None:
                    return await self._wait_for_balance(request, ending, estimate, within)
                if refusal.is_held:
                    break
                # Others may have ended meanwhile, and have used a part of what it was lowered to.
                lower = self._fitted(asked, estimate, states)
                if lower == within:
                    raise self._refused(asked, refusal, states)
                within = lower
            return await self._wait_for_others(request, ending, estimate, within)
        except ProxyError as error:
            error.headers = (*error.headers, *rate_headers(rooms_of(states)))
            raise

    async def _place(
        self, ending: Ending, estimate: Estimate, within: Estimate, claim: Claim
    ) -> Admission | None:
        hold = await ending.place(self.admissions.book, claim)
        if hold is None:
            return None
        self._note(ending.asked.caller, hold.rooms)
        return lowered_admission(ending.asked, estimate, within, hold)

    def _within_rules(self, asked: Asked, estimate: Estimate) -> Estimate:
        """Lower an estimate to what one request may use.

        Raises:
            RequestTooExpensive: it needs more with the smallest output.

        """
        rule = tightest_rule(_policy_of(asked.caller))
        if rule is None or rule.credits_per_request is None:
            return estimate
        needs = needs_of(estimate, asked.rates)
        if needs.least_credits > rule.credits_per_request:
            raise too_expensive(rule, needs.least_credits)
        most = rule.credits_per_request
        return lowered(estimate, asked.rates, credit_limit=most, token_limit=UNBOUNDED)

    def _fitted(self, asked: Asked, estimate: Estimate, states: States) -> Estimate:
        """Lower an estimate to what limits allow a request at most.

        Raises:
            RequestTooExpensive, LimitReached, InsufficientQuota: not even its smallest output fits.

        """
        estimate = self._within_rules(asked, estimate)
        needs = needs_of(estimate, asked.rates)
        least = refusal_of(states, needs.least_credits, needs.least_tokens)
        estimate = fitted(estimate, asked.rates, states, max(asked.caller.limit, 0))
        if least is None or least.is_held:
            return estimate
        # Unless it never fits, it is sent again as it is now, and takes all that is allowed.
        later = least.fits_at and _refusal(states, asked.caller, asked.claim(estimate))
        raise self._refused(asked, later or least, states)

    def _refused(self, asked: Asked, refusal: Refusal, states: States) -> ProxyError:
        retry_after_ms = wait_ms(refusal)
        if retry_after_ms is not None and is_rate_of_requests(refusal.limit):
            self.storms.note(asked.caller, refusal.limit, states, retry_after_ms)
        status = self.admissions.insufficient_status_of(asked.caller)
        return refused(refusal, retry_after_ms, status)

    async def _wait_for_balance(
        self, request: ClientRequest, ending: Ending, estimate: Estimate, within: Estimate
    ) -> Admission | None:
        """Wait for the balance; None where that has room for the request."""
        asked = ending.asked
        funds = await self.admissions.funds_of(asked.caller)
        claim = asked.claim(within, funds.limit)
        if claim.minimum <= funds.limit and claim.wanted <= funds.available:
            waited_for = await self.admissions.book.waited_for(asked.caller.account_id)
            if claim.wanted <= funds.available - waited_for:
                return None
        async with request.cancelling_when_gone():
            return await self.admissions.wait_for_hold(ending, estimate, within)

    async def _wait_for_others(
        self, request: ClientRequest, ending: Ending, estimate: Estimate, within: Estimate
    ) -> Admission | None:
        """Wait for other requests that the same limits count, and take what they leave over.

        None where limits have room for it, and its key has to be looked up once more.
        """
        asked, admissions = ending.asked, self.admissions
        caller = asked.caller
        loop = asyncio.get_running_loop()
        until = loop.time() + admissions.wait_s
        while (left_s := until - loop.time()) > 0:
            try:
                async with request.cancelling_when_gone():
                    hold, lower = await self._wait_in_line(ending, estimate, within, left_s)
            except _Unexplained:
                return await self._wait_for_balance(request, ending, estimate, within)
            if hold is not None:
                self._note(caller, hold.rooms)
                return lowered_admission(asked, estimate, lower, hold)
            lower = self._fitted(asked, estimate, await admissions.book.limits_of(caller))
            if lower == within:
                break
            within = lower
        _ = await admissions.funds_of(caller)
        states = await admissions.book.limits_of(caller)
        within = self._fitted(asked, estimate, states)
        refusal = _refusal(states, caller, asked.claim(within))
        if refusal is None:
            # There is room now, and others were in front for as long as one may wait.
            return await admissions.wait_for_hold(ending, estimate, within)
        if not refusal.is_held:
            raise self._refused(asked, refusal, states)
        retry_after_ms = 1000 * await admissions.retry_after_s(caller.account_id)
        raise refused(refusal, retry_after_ms, admissions.insufficient_status_of(caller))

    async def _wait_in_line(
        self, ending: Ending, estimate: Estimate, within: Estimate, wait_s: float
    ) -> tuple[Hold | None, Estimate]:
        """Wait for the turn of a request, which is lowered to what those in front have left.

        Returns:
            Its hold, or None if it does not fit; and what it was lowered to.

        Raises:
            _Unexplained: limits have room for it, and it was not placed.

        """
        asked, book = ending.asked, self.admissions.book

        async def attempt(position: int) -> Hold | None:
            nonlocal within
            hold = await ending.place(book, asked.claim(within), position)
            if hold is None:
                states = await book.limits_of(asked.caller)
                lower = self._fitted(asked, estimate, states)
                seems_to_fit = _refusal(states, asked.caller, asked.claim(lower)) is None
                if seems_to_fit or lower != within:
                    within = lower
                    hold = await ending.place(book, asked.claim(within), position)
                if seems_to_fit and hold is None:
                    raise _Unexplained
            return hold

        hold = await self.admissions.waiters.place(
            asked.caller,
            asked.claim(within),
            attempt,
            wait_s,
            by_limit=True,
            claimed=lambda: asked.claim(within),
        )
        return hold, within

    async def _estimate(self, request: ClientRequest, asked: Asked) -> Estimate:
        """The bound by bytes where there is plenty of everything, else the count."""
        if self._is_ample(asked, asked.caller.available):
            return asked.bound
        return await self._counted(request, asked)

    async def _counted(self, request: ClientRequest, asked: Asked) -> Estimate:
        if asked.is_quickly_counted:
            return await self.admissions.counted(asked)
        async with request.cancelling_when_gone():
            return await self.admissions.counted(asked)

    def _is_ample(self, asked: Asked, available: int) -> bool:
        """Whether the bound by bytes is small beside everything that could limit it."""
        caller = asked.caller
        if self._tokens_left.get(caller.key_id, 0) < AMPLE_TOKENS * tokens_for(asked.bound):
            return False
        return asked.is_ample(min(available, _most_credits(_policy_of(caller))))

    def _note(self, caller: Caller, rooms: tuple[Room, ...]) -> None:
        left = min((room.remaining for room in rooms if room.unit == "tokens"), default=UNBOUNDED)
        _keep(self._tokens_left, caller.key_id, left)

    async def _open_end_user(self, caller: Caller) -> None:
        """Make sure that the limits of the end user whom a request names can be taken from."""
        policy = _policy_of(caller)
        if policy.end_user is None or policy.end_users is None:
            return
        key = caller.key_id, policy.end_user
        if self._end_users.get(key) == policy.version:
            return
        limits = dict(policy.end_users.counted)
        await self.admissions.book.limits.open_end_user(caller.account_id, policy.end_user, limits)
        _keep(self._end_users, key, policy.version)


def _refusal(states: States, caller: Caller, claim: Claim) -> Refusal | None:
    """What refuses a claim, of which the balance may cover only a part."""
    return refusal_of(states, min(claim.wanted, max(caller.limit, claim.minimum)), claim.tokens)


def _policy_of(caller: Caller) -> Policy:
    """The policy of a limited key.

    Raises:
        ValueError: the key is not limited.

    """
    if caller.policy is None:
        raise ValueError("Only requests of limited keys come here.")
    return caller.policy


def _most_credits(policy: Policy) -> int:
    rule = tightest_rule(policy)
    return UNBOUNDED if rule is None else rule.credits_per_request or 0


def _keep(known: dict[Key, int], key: Key, value: int) -> None:
    known[key] = value
    if len(known) > KEYS_MAX:
        del known[next(iter(known))]
