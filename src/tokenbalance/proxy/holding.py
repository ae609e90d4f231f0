"""The stage `hold`: which hold is tried, in which order, and when the key is looked up for it.

    a remembered key      at once and in full, else it is looked up, and the request judged anew
    nothing limits it     the bound by bytes, or the count; else it waits for the balance
    limits               in full, else what they allow: `limits.admission`

A hold that does not fit may also be one whose key has changed since it was looked up: it got other
limits, or something of its account is due. So it is looked up once more before a request waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.errors import MissingScope, ServiceUnavailable
from tokenbalance.people.callers import EndedKey, RefusedKey
from tokenbalance.proxy.bearers import no_database

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tokenbalance.model import Estimate
    from tokenbalance.people.remembered import Bearer
    from tokenbalance.proxy.admission import Admission, Admissions
    from tokenbalance.proxy.asked import Asked
    from tokenbalance.proxy.bearers import Bearers
    from tokenbalance.proxy.ending import Ending
    from tokenbalance.proxy.limits.admission import LimitedAdmissions
    from tokenbalance.proxy.limits.gate import Gate
    from tokenbalance.wire.client.request import ClientRequest

ATTEMPTS_MAX: Final = 5
"""For a key whose limits change all the time."""


@dataclass(frozen=True, slots=True)
class Holding:
    """Places the hold of a request, or says why there is none."""

    bearers: Bearers
    admissions: Admissions
    limited: LimitedAdmissions
    gate: Gate

    async def hold(self, request: ClientRequest, ending: Ending, bearer: Bearer) -> Admission:
        """Hold the bound by bytes where the account affords it many times over, else the count.

        Raises:
            EndedKey, InsufficientQuota, BalanceHeld: as `Admissions` does.
            RequestTooExpensive, LimitReached: as `LimitedAdmissions` does.
            ServiceUnavailable: the database cannot be asked.
            ClientGone: the client has left while it waited.

        """
        was_tried = bearer.is_remembered
        try:
            if bearer.is_remembered:
                # From here on it is judged by the hold's statement, or by a look-up.
                bearer.is_remembered = False
                admission = await self._hold_at_once(ending, bearer.available)
                if admission is not None:
                    return admission
                await self._look_up(request, ending, bearer)
            if ending.asked.caller.policy is None:
                return await self._hold_unlimited(request, ending, bearer, was_tried=was_tried)
            return await self._hold_limited(request, ending, bearer, was_tried=was_tried)
        except UNAVAILABLE as error:
            raise no_database(error) from error

    def _hold_at_once(self, ending: Ending, available: int) -> Awaitable[Admission | None]:
        if ending.asked.caller.policy is None:
            return self.admissions.hold_at_once(ending, available)
        return self.limited.hold_at_once(ending, available)

    async def _look_up(self, request: ClientRequest, ending: Ending, bearer: Bearer) -> None:
        """Look the key up again, and judge the request by what it is now."""
        await self.bearers.look_up(bearer)
        self.admissions.refuse_empty(bearer.caller)
        ending.ask(await self.gate.judge_asked(request, bearer, ending.asked))

    async def _look_up_again(self, request: ClientRequest, ending: Ending, bearer: Bearer) -> None:
        """Look up a key that was accepted for this request already."""
        try:
            await self._look_up(request, ending, bearer)
        except (RefusedKey, MissingScope):
            raise EndedKey(bearer.caller.key_id) from None

    async def _hold_unlimited(
        self, request: ClientRequest, ending: Ending, bearer: Bearer, *, was_tried: bool
    ) -> Admission:
        asked = ending.asked
        if asked.is_ample(asked.caller.available):
            # The account may have been emptied since the key was checked.
            admission = await self.admissions.try_hold(ending, asked.bound)
            if admission is not None:
                return admission
        estimate = await self._counted(request, asked)
        admission = await self.admissions.try_hold(ending, estimate)
        if admission is not None:
            return admission
        if not was_tried:
            await self._look_up_again(request, ending, bearer)
        if ending.asked.caller.policy is not None:
            return await self._hold_limited(request, ending, bearer, was_tried=True)
        async with request.cancelling_when_gone():
            return await self.admissions.wait_for_hold(ending, estimate)

    async def _hold_limited(
        self, request: ClientRequest, ending: Ending, bearer: Bearer, *, was_tried: bool
    ) -> Admission:
        """Hold what limits allow, and the key has not changed meanwhile."""
        admission = None if was_tried else await self.limited.try_hold(request, ending)
        attempts = 0
        while admission is None:
            attempts += 1
            if attempts > ATTEMPTS_MAX:
                msg = "The limits of this key change all the time"
                raise ServiceUnavailable(msg)
            if ending.asked.caller.policy is None:
                estimate = await self._counted(request, ending.asked)
                async with request.cancelling_when_gone():
                    return await self.admissions.wait_for_hold(ending, estimate)
            admission = await self.limited.hold_lowered(request, ending)
            if admission is None:
                await self._look_up_again(request, ending, bearer)
        return admission

    def _counted(self, request: ClientRequest, asked: Asked) -> Awaitable[Estimate]:
        counting = self.admissions.counted(asked)
        return counting if asked.is_quickly_counted else _while_there(request, counting)


async def _while_there(request: ClientRequest, counting: Awaitable[Estimate]) -> Estimate:
    async with request.cancelling_when_gone():
        return await counting
