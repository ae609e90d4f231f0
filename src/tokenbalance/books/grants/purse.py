"""The grants of one account, brought up to date with its ledger.

Opening a purse locks the account, enters what is due and burns what was spent; saving it writes
what became of the grants, in the caller's transaction. Never commits.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeAlias, cast
from zoneinfo import ZoneInfo

from tokenbalance.books.grants.burning import Entry, Lot, Lots, Range
from tokenbalance.database import statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import asyncpg
    from asyncpg.pool import PoolConnectionProxy
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.grants.calendar import Every

    Connection: TypeAlias = (
        "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
    )
    _Account: TypeAlias = tuple[int, int, int, str, datetime | None]
    _Entry: TypeAlias = tuple[int, int, int, str | None, datetime]
    _Grant: TypeAlias = tuple[
        int,
        int,
        int,
        int,
        datetime | None,
        datetime | None,
        int | None,
        datetime | None,
        int,
        str,
    ]
    _Rule: TypeAlias = tuple[int, int, Every, datetime | None, datetime | None, int, datetime, str]
    _Range: TypeAlias = tuple[int, int, int, int, bool, list[int], list[int]]

_TIMEOUT_S: Final = 10.0
"""Of a statement: the first one may wait for the account's lock."""
LINGERING: Final = timedelta(seconds=1)
"""How often it is looked whether requests have ended that began before the end of a grant."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An allowance that is to issue a grant some time."""

    id: int
    amount: int
    every: Every
    starts_at: datetime | None
    ends_at: datetime | None
    rollover_max: int
    next_at: datetime
    note: str


@dataclass(slots=True)
class Purse:
    """The grants of one account, which is locked."""

    connection: Connection
    account_id: int
    balance: int
    held: int
    overdraft: int
    zone: ZoneInfo
    next_expiry: datetime | None
    now: datetime
    """Read after the account was locked."""
    lots: Lots
    rules: list[Rule]
    known: dict[int, Lot] = field(default_factory=dict[int, Lot])
    """The grants as they are stored."""
    last: Range | None = None
    """The last range as it is stored."""

    async def save(self) -> None:
        """Write what became of the grants, and when something is due."""
        for range_ in self.lots.ranges:
            await self._save_range(range_)
        changed = [lot for lot in self.lots.lots.values() if self.known.get(lot.id) != lot]
        if changed:
            await self._execute(
                statements.SAVE_GRANTS,
                *([*column] for column in zip(*map(_row, changed), strict=True)),
            )
        await self._execute(statements.SET_NEXT_EXPIRY, self.due_at())

    async def enter(self, kind: str, amount: int, note: str) -> int:
        """Make a ledger entry that nobody has asked for; the caller notes what it does to grants.

        Returns:
            Its id.

        """
        rows = await self._fetch(statements.ENTER_BY_ITSELF, kind, amount, "server", note)
        self.balance += amount
        return cast("list[tuple[int]]", rows)[0][0]

    def issue(self, lot: Lot) -> None:
        """Add a grant that an entry has issued, the last one of the account."""
        self.balance = self.lots.balance + lot.amount - lot.carried
        self.lots.note(lot.id, self.balance, self.lots.add(lot, self.balance))

    def due_at(self) -> datetime | None:
        """When something is to be entered next; None: nothing is."""
        lots = [lot for lot in self.lots.lots.values() if lot.remaining]
        moments = [lot.expires_at for lot in lots if lot.expires_at and lot.ended_at is None]
        moments += [rule.next_at for rule in self.rules]
        if any(lot.ended_at for lot in lots):
            moments.append(self.now + LINGERING)
        return min(moments, default=None)

    async def held_before(self, ends: Sequence[datetime]) -> list[int]:
        """What open holds reserve that were placed before each of these moments."""
        rows = cast("list[tuple[int]]", await self._fetch(statements.HELD_BEFORE, ends))
        return [held for (held,) in rows]

    async def move(self, rule: Rule, next_at: datetime | None) -> None:
        """Note when the next period of an allowance begins."""
        await self._execute(statements.MOVE_ALLOWANCE, rule.id, next_at)
        self.rules.remove(rule)
        if next_at is not None:
            self.rules.append(replace(rule, next_at=next_at))

    async def _save_range(self, range_: Range) -> None:
        last = self.last
        if last is not None and range_.entries_after == last.entries_after:
            if range_.up_to == last.up_to:
                return
            await self._execute(statements.FORGET_BURN, last.up_to)
        if last is None or range_.up_to > last.up_to:
            await self._execute(
                statements.SAVE_BURN,
                range_.entries_after,
                range_.up_to,
                range_.balance_before,
                range_.balance_after,
                range_.is_plain,
                [grant for grant, _ in range_.parts],
                [amount for _, amount in range_.parts],
            )

    async def _execute(self, statement: str, *arguments: object) -> None:
        _ = await self.connection.execute(
            statement, self.account_id, *arguments, timeout=_TIMEOUT_S
        )

    async def _fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        return await self.connection.fetch(
            statement, self.account_id, *arguments, timeout=_TIMEOUT_S
        )

    async def catch_up(self) -> None:
        """Burn what was spent since the last range."""
        after = self.lots.up_to
        entries = [_entry(row) for row in await self._fetch(statements.ENTRIES_AFTER, after)]
        of_requests = {
            entry.request_id: await self._entries_of(entry.request_id)
            for entry in entries
            if entry.amount > 0 and entry.request_id is not None
        }
        wanted = await self._ranges_of(of_requests.values())
        rows = await self._fetch(statements.GRANTS, wanted)
        lots = [Lot(*row) for row in cast("list[_Grant]", rows)]
        self.known = {lot.id: replace(lot) for lot in lots}
        self.lots.lots = {lot.id: lot for lot in lots}
        ends = [
            lot.expires_at
            for lot in lots
            if lot.remaining and lot.expires_at is not None and lot.has_ended(self.now)
        ]
        if ends:
            late = await self._fetch(statements.LATE_CHARGES, after, min(ends))
            entries += map(_entry, late)
        self.lots.follow(sorted(entries, key=attrgetter("id")), of_requests)
        if self.balance != self.lots.balance:
            newest = cast("list[tuple[int]]", await self._fetch(statements.LAST_ENTRY))
            self.lots.burn_charges(newest[0][0], self.balance)

    async def _entries_of(self, request_id: str) -> list[Entry]:
        rows = await self._fetch(statements.ENTRIES_OF_REQUEST, request_id)
        return sorted(map(_entry, rows), key=attrgetter("id"))

    async def _ranges_of(self, of_requests: Iterable[Sequence[Entry]]) -> list[int]:
        """Read the ranges of entries that were burnt before, and return the grants of them."""
        wanted: set[int] = set()
        after = self.lots.up_to
        for entry in {e.id: e for entries in of_requests for e in entries}.values():
            if entry.amount >= 0 or entry.id > after:
                continue
            for row in await self._fetch(statements.BURN_OF_ENTRY, entry.id):
                range_ = _range(row)
                wanted.update(grant for grant, _ in range_.parts)
                if all(range_.up_to != known.up_to for known in self.lots.ranges):
                    self.lots.ranges.append(range_)
        self.lots.ranges.sort(key=attrgetter("up_to"))
        return [*wanted]


async def open_purse(connection: Connection, account_id: int, *, begin: bool) -> Purse | None:
    """Lock an account, and bring its grants up to date; nothing is written yet.

    Args:
        connection: in a transaction.
        account_id: whose.
        begin: if the account has no grants of its own, make its balance one.

    Returns:
        None if it has none, or does not exist.

    """
    found = await connection.fetchrow(statements.LOCK_PURSE, account_id, timeout=_TIMEOUT_S)
    row = await connection.fetchrow(statements.LAST_BURN, account_id, timeout=_TIMEOUT_S)
    if found is None or (row is None and not begin):
        return None
    rules = await connection.fetch(statements.DUE_ALLOWANCES, account_id, timeout=_TIMEOUT_S)
    balance, held, overdraft, time_zone, next_expiry = cast("_Account", tuple(found))
    last = None if row is None else _range(row)
    if row is None:
        lots, now = await _begin(connection, account_id, balance)
    else:
        lots, now = _after(_range(row)), cast("datetime", row[7])
    purse = Purse(
        connection,
        account_id,
        balance,
        held,
        overdraft,
        ZoneInfo(time_zone),
        next_expiry,
        now,
        lots,
        [Rule(*rule) for rule in cast("list[_Rule]", rules)],
        last=last,
    )
    if last is not None:
        await purse.catch_up()
    return purse


async def connection_of(session: AsyncSession) -> Connection:
    """Return the connection of a session, in its transaction and with all that is pending."""
    await session.flush()
    raw = await (await session.connection()).get_raw_connection()
    return cast("Connection", raw.driver_connection)


async def _begin(connection: Connection, account_id: int, balance: int) -> tuple[Lots, datetime]:
    """Make a balance the first grant of its account."""
    row = await connection.fetchrow(statements.LAST_ENTRY, account_id, timeout=_TIMEOUT_S)
    now = cast(
        "datetime", await connection.fetchval("SELECT clock_timestamp()", timeout=_TIMEOUT_S)
    )
    newest = 0 if row is None else cast("int", row[0])
    lots = Lots({}, balance, newest)
    if balance > 0:
        lots.lots[newest] = Lot(newest, balance, balance)
    lots.ranges.append(Range(max(newest - 1, 0), newest, balance, balance, False, []))  # noqa: FBT003 - a field
    return lots, now


def _after(last: Range) -> Lots:
    return Lots({}, last.balance_after, last.up_to, [last])


def _row(lot: Lot) -> tuple[object, ...]:
    return (
        lot.id,
        lot.amount,
        lot.remaining,
        lot.priority,
        lot.expires_at,
        lot.ended_at,
        lot.allowance_id,
        lot.period_start,
        lot.carried,
        lot.note,
    )


def _entry(row: asyncpg.Record) -> Entry:
    return Entry(*cast("_Entry", tuple(row)))


def _range(row: asyncpg.Record) -> Range:
    entries_after, up_to, before, after, is_plain, grants, amounts = cast("_Range", tuple(row)[:7])
    parts = [*zip(grants, amounts, strict=True)]
    return Range(entries_after, up_to, before, after, is_plain, parts)
