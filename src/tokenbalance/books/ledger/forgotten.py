"""Holds that the database forgot: a hold's commit does not wait for the disk.

A crash of Postgres can lose what it committed in the last half second or so: the hold, and with it
the credits that the account had reserved. A failover to a standby can do the same. The request was
sent upstream by then. So whoever is responsible for it puts the hold back, as it was placed, and
everything else goes on as ever: it is renewed, settled, voided or expired. Others may have spent
the credits meanwhile; then the hold gets what is left, and the rest of the charge is an overrun.

    heartbeat     finds that a lease's hold is gone, and restores it
    settlement    finds nothing to settle: restores and settles in one transaction
    journal       of a dead process, likewise

A hold is only restored where it was placed: its placement was acknowledged, or its request was
dispatched, which comes after that. Must never restore a hold whose request has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from tokenbalance.database import statements
from tokenbalance.model import Charge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenbalance.books.ledger.settlements import Settlement
    from tokenbalance.database.connections import Pool
    from tokenbalance.database.connections.pool import Borrowed
    from tokenbalance.model import Hold

_TIMEOUT_S: Final = 10.0
"""Of a statement: it may wait for the account's lock."""


class Forgotten:
    """Finds and restores holds, on the request path's pool; raises what asyncpg raises."""

    def __init__(self, pool: Pool, lease_s: float) -> None:
        self._pool = pool
        self._lease_s = lease_s

    async def restore(self, holds: Sequence[Hold]) -> int:
        """Restore those of these holds that these books know nothing of.

        Returns:
            How many were restored. An account that has nothing left gets none back before its
            request is settled.

        """
        rows = await self._pool.fetch(
            statements.FORGOTTEN,
            [hold.account_id for hold in holds],
            [hold.request_id for hold in holds],
        )
        forgotten = {cast("str", row[0]) for row in rows}
        restored = 0
        for hold in holds:
            if hold.request_id in forgotten:
                async with self._pool.acquire() as session, session.transaction():
                    restored += await self._restore(session, hold, even_with_nothing=False)
        return restored

    async def settle(self, settlement: Settlement) -> Charge | None:
        """Restore a hold and settle it, in one transaction.

        Returns:
            The charge; None if these books know of the request, or never had its account.

        """
        return await self._end(settlement, statements.SETTLE_RESTORED, *settlement.full())

    async def expire(self, settlement: Settlement) -> Charge | None:
        """Restore a hold whose process is gone and expire it, in one transaction; else as above."""
        return await self._end(settlement, statements.EXPIRE_RESTORED)

    async def _end(self, settlement: Settlement, statement: str, *more: object) -> Charge | None:
        if settlement.hold.terms is None:
            return None
        async with self._pool.acquire() as session, session.transaction():
            if not await self._restore(session, settlement.hold, even_with_nothing=True):
                return None
            row = await session.fetchrow(
                statement, *settlement.arguments(), *more, timeout=_TIMEOUT_S
            )
        return (
            None if row is None else Charge(settlement.amount, *cast("tuple[int, int]", tuple(row)))
        )

    async def _restore(self, session: Borrowed, hold: Hold, *, even_with_nothing: bool) -> int:
        """Restore a hold; returns 1 if it is restored, else 0."""
        if hold.terms is None:
            return 0
        terms = hold.terms
        _ = await session.execute(statements.LOCK_ACCOUNT, hold.account_id, timeout=_TIMEOUT_S)
        amount = cast(
            "int | None",
            await session.fetchval(
                statements.RESTORE,
                hold.account_id,
                hold.request_id,
                terms.key_id,
                hold.amount,
                terms.endpoint,
                terms.model,
                terms.known_input,
                self._lease_s,
                terms.estimated_output,
                None if hold.rates is None else hold.rates.text,
                even_with_nothing,
                terms.tokens,
                terms.limit_ids,
                timeout=_TIMEOUT_S,
            ),
        )
        return int(amount is not None)
