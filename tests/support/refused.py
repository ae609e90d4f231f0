"""Refusals that were counted, of any day."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool


async def refuse(
    pool: Pool, account_id: int, key_id: int, code: str, count: int, day: date | None = None
) -> None:
    """Write a row as the product does; today's where no day is given."""
    await pool.execute(
        "INSERT INTO refusals (account_id, key_id, code, count, day, last_at)"
        " VALUES ($1, $2, $3, $4, $5, now())",
        account_id,
        key_id,
        code,
        count,
        day or datetime.now(UTC).date(),
    )
