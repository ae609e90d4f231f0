"""Corrections: the true usage of a request that had expired, entered once.

What such a request costs depends on its newest rates, which a rerate may change: so it is computed
while the account is locked, by which every rerate waits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.books.pricing.rates import charge_for, stored_rates
from tokenbalance.database import statements

if TYPE_CHECKING:
    from tokenbalance.books.ledger.settlements import Settlement
    from tokenbalance.database.connections import Pool

_TIMEOUT_S: Final = 10.0
"""Of a statement: it may wait for the account's lock."""


async def enter_correction(pool: Pool, settlement: Settlement) -> bool:
    """Enter the true usage of a request at its newest rates; raises what asyncpg raises.

    Args:
        pool: that of the request path.
        settlement: the usage, and how the request went.

    Returns:
        Whether it is entered now: the request has expired, and had no correction.

    """
    request = (settlement.hold.account_id, settlement.hold.request_id)
    if await pool.fetchrow(statements.NEWEST_RATES, *request) is None:
        return False
    async with pool.acquire() as session, session.transaction():
        _ = await session.execute(statements.LOCK_ACCOUNT, request[0], timeout=_TIMEOUT_S)
        text = cast(
            "str | None",
            await session.fetchval(statements.NEWEST_RATES, *request, timeout=_TIMEOUT_S),
        )
        amount = charge_for(settlement.usage, stored_rates(text))
        row = await session.fetchrow(
            statements.CORRECT,
            *replace(settlement, amount=amount).arguments(),
            *settlement.trace,
            timeout=_TIMEOUT_S,
        )
    return row is not None
