"""The ledger, read for people: the entries of one account, oldest first. Writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from tokenbalance.database.tables import LedgerEntry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncSession

_ROWS_AT_ONCE: Final = 1000


async def entries(session: AsyncSession, account_id: int) -> AsyncIterator[LedgerEntry]:
    """Stream the entries of an account, oldest first, as of one moment."""
    query = select(LedgerEntry).where(LedgerEntry.account_id == account_id)
    rows = await session.stream_scalars(
        query.order_by(LedgerEntry.id), execution_options={"yield_per": _ROWS_AT_ONCE}
    )
    async for entry in rows:
        yield entry
