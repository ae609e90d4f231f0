"""The book of holds: place, settle, void. Each is one statement and one commit.

Knows accounts and credits; must never know of HTTP, and never check before it acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from tokenbalance.database import statements
from tokenbalance.ledger.rates import charge_for
from tokenbalance.model import Charge, Hold

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Caller, Purpose, Usage


@dataclass(frozen=True, slots=True)
class Funds:
    """An account's credits at one moment."""

    balance: int
    held: int
    overdraft: int

    @property
    def available(self) -> int:
        """What a hold may still take, in credits."""
        return self.balance - self.held + self.overdraft


class Book:
    """Holds and their ends, on the request path's pool.

    Raises what asyncpg raises; `database.connections.UNAVAILABLE` says which of it may pass.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def place(
        self,
        caller: Caller,
        purpose: Purpose,
        *,
        wanted: int,
        minimum: int,
    ) -> Hold | None:
        """Reserve `wanted` credits, or what the balance affords if that is at least `minimum`.

        Open holds of the account are not taken into what the balance affords: a request is capped
        because the account is nearly empty, never because it is busy.

        Returns:
            The hold, or None when it does not fit at this moment.

        """
        row = await self._pool.fetchrow(
            statements.PLACE,
            caller.account_id,
            purpose.request_id,
            caller.key_id,
            wanted,
            minimum,
            purpose.endpoint,
            purpose.model,
        )
        if row is None:
            return None
        (amount,) = cast("tuple[int]", tuple(row))
        return Hold(purpose.request_id, caller.account_id, amount)

    async def funds(self, account_id: int) -> Funds:
        """Read what an account has, for telling people; never for deciding."""
        row = await self._pool.fetchrow(statements.FUNDS, account_id)
        return Funds(0, 0, 0) if row is None else Funds(*cast("tuple[int, int, int]", tuple(row)))

    async def settle(self, hold: Hold, usage: Usage) -> Charge | None:
        """End a hold with the charge for what was used.

        Returns:
            The charge, or None when the hold had already ended: then nothing changed.

        """
        amount = charge_for(usage)
        row = await self._pool.fetchrow(
            statements.SETTLE,
            hold.account_id,
            hold.request_id,
            amount,
            usage.estimated,
            usage.input,
            usage.cached_input,
            usage.output,
            usage.reasoning,
            usage.audio_input,
            usage.audio_output,
            usage.total,
        )
        if row is None:
            return None
        balance, held = cast("tuple[int, int]", tuple(row))
        return Charge(amount, balance, held)

    async def void(self, hold: Hold) -> None:
        """End a hold without a charge; when it has already ended, nothing changes."""
        await self._pool.execute(statements.VOID, hold.account_id, hold.request_id)
