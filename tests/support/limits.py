"""Limits in tests: how a key or an account gets some, and what has been taken from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import update

from tokenbalance.database.tables import Account, ApiKey
from tokenbalance.model.limits import ACCOUNT, subject_of_key
from tokenbalance.people.callers import find_caller
from tokenbalance.people.limit_rows import renew_versions, store_limits

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.model import Caller


async def limit_key(sessions: Sessions, holder: Holder, **limits: int | list[str]) -> None:
    """Make these the limits of a holder's key."""
    async with sessions.begin() as session:
        _ = await session.execute(
            update(ApiKey).where(ApiKey.id == holder.key_id).values(limits=limits)
        )
        subject = subject_of_key(holder.key_id)
        await store_limits(session, holder.account_id, subject, limits)
        await renew_versions(session, holder.account_id, holder.key_id)


async def limit_account(sessions: Sessions, holder: Holder, **limits: int | list[str]) -> None:
    """Make these the limits of a holder's account."""
    async with sessions.begin() as session:
        _ = await session.execute(
            update(Account).where(Account.id == holder.account_id).values(limits=limits)
        )
        await store_limits(session, holder.account_id, ACCOUNT, limits)
        await renew_versions(session, holder.account_id)


async def caller_of(pool: Pool, holder: Holder) -> Caller:
    """Look the holder's key up, as a request does."""
    return await find_caller(pool, holder.secret)


async def counts(pool: Pool) -> dict[str, tuple[int, int]]:
    """Read what is used of each limit that has no rate, and what is reserved."""
    rows = await pool.fetch("SELECT name, used, reserved FROM limits WHERE period <> 'minute'")
    return {row["name"]: (row["used"], row["reserved"]) for row in rows}


async def backlogs(pool: Pool) -> dict[str, float]:
    """Read in how many seconds each rate was to be full again, when the oldest hold was placed."""
    rows = await pool.fetch(
        "SELECT name, extract(epoch FROM taken_until - begun) AS seconds FROM limits,"
        " (SELECT coalesce((SELECT min(created_at) FROM open_holds),"
        " (SELECT min(started_at) FROM ledger WHERE state IS NOT NULL)) AS begun) b"
        " WHERE period = 'minute'"
    )
    return {row["name"]: float(row["seconds"]) for row in rows}
