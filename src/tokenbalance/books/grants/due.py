"""Enters what is due: the ends of grants, and the next periods of allowances.

    at its end             what remains of a grant is taken by an entry of the kind `expiry`, except
                           what requests hold that began before; `available` cannot fall below zero
    when those have ended  what they left over is taken as well
    at a period's end      up to the rollover, what remains moves into the grant of the next period
    after an outage        only the current period is issued

Each account in one transaction, under its lock; nothing can be issued twice, as a period's start is
unique. The proxy enters what is due before it places a hold, reads do so before they show a
balance, and `DueGrants` does it for accounts that nobody uses.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.books.grants.burning import Lot
from tokenbalance.books.grants.calendar import period_at
from tokenbalance.books.grants.purse import connection_of, open_purse
from tokenbalance.books.ledger.fallback import repeated
from tokenbalance.database import statements
from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.model import JSON_INTEGER_MAX

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.grants.burning import Part
    from tokenbalance.books.grants.purse import Connection, Purse, Rule
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Caller

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 100
"""Accounts that one round of the upkeep goes through; the rest are for the next one."""
_RETRY_S: Final = 5.0


class DueGrants:
    """Enters what is due for accounts that nobody uses. Any number of replicas may do this."""

    def __init__(self, pool: Pool, period_s: float) -> None:
        self._pool = pool
        self._period_s = period_s

    async def run(self) -> None:
        """Enter what is due periodically, until cancelled; no error ends it."""
        while True:
            pause_s = self._period_s
            try:
                if await enter_some_due(self._pool) == _AT_ONCE:
                    pause_s = 0
            except UNAVAILABLE as error:
                logger.warning("what is due cannot be entered now: %s", type(error).__name__)
                pause_s = _RETRY_S
            except Exception:
                logger.exception("what is due cannot be found")
            await asyncio.sleep(pause_s)


async def enter_some_due(pool: Pool) -> int:
    """Enter what is due for the accounts that have waited longest; raises what asyncpg raises.

    An account of which it cannot be entered keeps no other one from it.

    Returns:
        For how many it was entered, here or by somebody else.

    """
    due = await pool.fetch(statements.DUE_ACCOUNTS, _AT_ONCE)
    entered = 0
    for (account_id,) in cast("list[tuple[int]]", due):
        try:
            async with pool.acquire() as connection, connection.transaction():
                if await connection.fetchval(statements.LOCK_DUE_PURSE, account_id) is not None:
                    await enter_due(connection, account_id)
            entered += 1
        except UNAVAILABLE:
            raise
        except Exception:
            logger.exception("what is due of account %d cannot be entered", account_id)
    return entered


async def enter_due_of(pool: Pool, account_id: int) -> None:
    """Enter what is due for one account, in a transaction; raises what asyncpg raises."""

    async def enter() -> None:
        async with pool.acquire() as connection, connection.transaction():
            await enter_due(connection, account_id)

    await repeated(enter)


async def funds_row(pool: Pool, caller: Caller) -> tuple[int, int, int, bool] | None:
    """Read balance, held and overdraft of a caller's account; what is due is entered first.

    So whoever is about to be refused, or waits, gets what an allowance issues meanwhile.

    Returns:
        None if no request may be sent with the caller's key any more.

    """
    funds = await _funds_row(pool, caller)
    if funds is None or not funds[3]:
        return funds
    await enter_due_of(pool, caller.account_id)
    return await _funds_row(pool, caller)


async def _funds_row(pool: Pool, caller: Caller) -> tuple[int, int, int, bool] | None:
    row = await pool.fetchrow(statements.FUNDS_OF_CALLER, caller.account_id, caller.secret_sha256)
    return None if row is None else cast("tuple[int, int, int, bool]", tuple(row))


async def bring_up_to_date(session: AsyncSession, account_id: int) -> None:
    """Enter what is due for an account, and burn what was spent, in the caller's transaction."""
    await enter_due(await connection_of(session), account_id)


async def enter_due(connection: Connection, account_id: int) -> None:
    """Enter what is due for an account, and burn what was spent; locks it.

    Args:
        connection: in a transaction.
        account_id: whose; one without grants of its own is left alone.

    """
    purse = await open_purse(connection, account_id, begin=False)
    if purse is not None:
        await settle_up(purse)
        await purse.save()


async def settle_up(purse: Purse) -> None:
    """Enter what is due in a purse, which the caller saves."""
    for rule in [rule for rule in purse.rules if rule.next_at <= purse.now]:
        await _issue(purse, rule)
    await _end(purse)


async def _issue(purse: Purse, rule: Rule) -> None:
    """Issue the current period of an allowance, with what is carried over into it."""
    if rule.ends_at is not None and rule.ends_at <= purse.now:
        await purse.move(rule, None)
        return
    period = period_at(purse.now, rule.every, rule.starts_at, purse.zone)
    if period.start < rule.next_at:
        # The account has got another time zone meanwhile: this period was issued by the old one.
        await purse.move(rule, period.end)
        return
    carried = _carried(purse, rule)
    amount = min(rule.amount, JSON_INTEGER_MAX - purse.balance)
    if amount > 0:
        note = f"{rule.amount:,} every {rule.every}"
        entry = await purse.enter("grant", amount, f"{note}: {rule.note}" if rule.note else note)
        lot = Lot(
            entry,
            amount + sum(part for _, part in carried),
            amount + sum(part for _, part in carried),
            expires_at=period.end,
            allowance_id=rule.id,
            period_start=period.start,
            carried=sum(part for _, part in carried),
            note=rule.note,
        )
        _carry_over(purse, lot, carried)
    is_last = rule.ends_at is not None and rule.ends_at <= period.end
    await purse.move(rule, None if is_last else period.end)


def _carried(purse: Purse, rule: Rule) -> list[Part]:
    """What remains of ended grants of an allowance and may be spent on, the newest ones first."""
    left = rule.rollover_max
    parts: list[Part] = []
    for lot in reversed(purse.lots.in_order()):
        if lot.allowance_id == rule.id and lot.ended_at is None and lot.has_ended(purse.now):
            part = min(lot.remaining, left)
            left -= part
            if part:
                parts.append((lot.id, part))
    return parts


def _carry_over(purse: Purse, lot: Lot, carried: list[Part]) -> None:
    """Add a grant, into which something is carried over."""
    lots = purse.lots
    for source, part in carried:
        lots.lots[source].remaining -= part
    owed = lots.add(lot, purse.balance)
    lots.note(lot.id, purse.balance, [*carried, *owed])


async def _end(purse: Purse) -> None:
    """Take what remains of grants that have ended, except what earlier requests still hold."""
    ended = [lot for lot in purse.lots.in_order() if lot.has_ended(purse.now)]
    if not ended:
        return
    held = await purse.held_before([cast("datetime", lot.expires_at) for lot in ended])
    kept = 0
    for lot, reserved in zip(ended, held, strict=True):
        keep = min(lot.remaining, max(reserved - kept, 0))
        kept += keep
        # What other requests have reserved meanwhile stays covered.
        free = max(purse.balance + purse.overdraft - purse.held, 0)
        amount = min(lot.remaining - keep, free)
        lot.ended_at = lot.ended_at or purse.now
        if amount:
            entry = await purse.enter("expiry", -amount, _said(lot))
            lot.remaining -= amount
            purse.lots.note(entry, purse.balance, [(lot.id, amount)])


def _said(lot: Lot) -> str:
    moment = cast("datetime", lot.expires_at)
    return f"ended {moment:%Y-%m-%d %H:%M} UTC, entry {lot.id}"
