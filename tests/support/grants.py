"""Grants and allowances of a holder, and the passing of time for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tokenbalance.books.grants.due import bring_up_to_date, enter_some_due
from tokenbalance.books.grants.issuing import NewGrant, grants_of, issue
from tokenbalance.books.ledger.credits import Cause
from tokenbalance.model import CLI

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions

CAUSE = Cause(CLI)
LATER = datetime.now(UTC) + timedelta(days=9)
"""The end of a grant that does not end within a test."""


async def grant(
    sessions: Sessions, holder: Holder, amount: int, *, days: float | None = 9, priority: int = 50
) -> int:
    """Grant credits with an end; returns the grant's id."""
    end = None if days is None else datetime.now(UTC) + timedelta(days=days)
    async with sessions.begin() as session:
        new = NewGrant(amount=amount, expires_at=end, priority=priority)
        return (await issue(session, holder.account_id, new, CAUSE)).id


async def remains(sessions: Sessions, holder: Holder) -> dict[int, int]:
    """Read what remains of each grant, in the order in which they are spent."""
    async with sessions.begin() as session:
        return {row.id: row.remaining for row in await grants_of(session, holder.account_id)}


async def end(pool: Pool, grant_id: int) -> None:
    """Let a grant end a moment ago, and its account be due."""
    await pool.execute(
        "WITH grant_ AS (UPDATE grants SET expires_at = clock_timestamp() WHERE id = $1"
        " RETURNING account_id) UPDATE accounts SET next_expiry = clock_timestamp()"
        " FROM grant_ WHERE id = grant_.account_id",
        grant_id,
    )


async def pass_time(pool: Pool, holder: Holder, days: float) -> None:
    """Shift what is stored, as if that many days had passed since."""
    past = timedelta(days=days)
    for table, columns in (
        ("accounts", ("next_expiry",)),
        ("grants", ("expires_at", "ended_at", "period_start", "created_at")),
        ("allowances", ("next_at", "starts_at", "ends_at")),
        ("open_holds", ("created_at",)),
    ):
        shifted = ", ".join(f"{column} = {column} - $2::interval" for column in columns)
        account = "id" if table == "accounts" else "account_id"
        await pool.execute(
            f"UPDATE {table} SET {shifted} WHERE {account} = $1",  # noqa: S608 - names of columns
            holder.account_id,
            past,
        )


async def enter_all_due(pool: Pool) -> int:
    """Enter what is due, as the upkeep does."""
    return await enter_some_due(pool)


async def catch_up(sessions: Sessions, holder: Holder) -> None:
    """Bring the grants of a holder up to date."""
    async with sessions.begin() as session:
        await bring_up_to_date(session, holder.account_id)
