"""The stage `hold`: which hold is tried, in which order, and when the key is looked up for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.proxy.bearers import no_database

if TYPE_CHECKING:
    from tokenbalance.people.remembered import Bearer
    from tokenbalance.proxy.admission import Admission, Admissions
    from tokenbalance.proxy.bearers import Bearers
    from tokenbalance.proxy.ending import Ending
    from tokenbalance.proxy.limits.gate import Gate
    from tokenbalance.wire.client.request import ClientRequest


@dataclass(frozen=True, slots=True)
class Holding:
    """Places the hold of a request, or says why there is none."""

    bearers: Bearers
    admissions: Admissions
    gate: Gate

    async def hold(self, request: ClientRequest, ending: Ending, bearer: Bearer) -> Admission:
        """Hold the bound by bytes where the account affords it many times over, else the count.

        Raises:
            EndedKey, InsufficientQuota, BalanceHeld: as `Admissions` does.
            ServiceUnavailable: the database cannot be asked.
            ClientGone: the client has left while it waited.

        """
        try:
            if bearer.is_remembered:
                # From here on it is judged by the hold's statement, or by a look-up.
                bearer.is_remembered = False
                admission = await self.admissions.hold_at_once(ending, bearer.available)
                if admission is not None:
                    return admission
                await self._look_up(request, ending, bearer)
            return await self._hold(request, ending)
        except UNAVAILABLE as error:
            raise no_database(error) from error

    async def _look_up(self, request: ClientRequest, ending: Ending, bearer: Bearer) -> None:
        """Look the key up again, and judge the request by what it is now."""
        await self.bearers.look_up(bearer)
        self.admissions.refuse_empty(bearer.caller)
        ending.ask(await self.gate.judge_asked(request, bearer, ending.asked))

    async def _hold(self, request: ClientRequest, ending: Ending) -> Admission:
        asked = ending.asked
        if asked.is_ample(asked.caller.available):
            # The account may have been emptied since the key was checked.
            admission = await self.admissions.try_hold(ending, asked.bound)
            if admission is not None:
                return admission
        if asked.is_quickly_counted:
            estimate = await self.admissions.counted(asked)
        else:
            async with request.cancelling_when_gone():
                estimate = await self.admissions.counted(asked)
        admission = await self.admissions.try_hold(ending, estimate)
        if admission is not None:
            return admission
        async with request.cancelling_when_gone():
            return await self.admissions.wait_for_hold(ending, estimate)
