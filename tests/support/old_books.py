"""Books of version 1 with every kind of row, written as the release that had them wrote them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, cast

from tests.support import version_1

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

ACCOUNTS: Final = 3
RATES: Final = '{"input": "1", "output": "1", "request": "0"}'


class OldBooks:
    """Writes to the tables of version 1, one statement after the other."""

    def __init__(self, connection: Connection) -> None:
        self.connection: Final = connection

    async def open_accounts(self) -> None:
        """Create users with an account and a key each; all have the same number."""
        for number in range(1, ACCOUNTS + 1):
            await self.connection.execute(
                "INSERT INTO users (email) VALUES ($1)", f"old{number}@example.com"
            )
            await self.connection.execute("INSERT INTO accounts (user_id) VALUES ($1)", number)
            await self.connection.execute(
                "INSERT INTO api_keys (account_id, prefix, secret_sha256)"
                " VALUES ($1, 'p', sha256($2))",
                number,
                str(number).encode(),
            )
            await self.enter(number, "grant", 1_000_000)

    async def enter(
        self,
        account: int,
        kind: str,
        amount: int,
        request: str | None = None,
        *,
        key: str | None = None,
        asked: int | None = None,
    ) -> None:
        await self.connection.execute(version_1.ENTER, account, kind, amount, request, key, asked)

    async def place(
        self, account: int, request: str, amount: int = 100, rates: str | None = None
    ) -> None:
        placed = await self.connection.fetchval(
            version_1.PLACE, account, request, account, amount, rates
        )
        assert placed == amount

    async def settle(self, account: int, request: str, charge: int = 40) -> None:
        assert await self.connection.fetch(version_1.SETTLE, account, request, charge)

    async def expire(self, account: int, request: str, charge: int = 60) -> None:
        assert await self.connection.fetch(version_1.EXPIRE, account, request, charge)

    async def correct(self, account: int, request: str, charge: int) -> None:
        assert await self.connection.fetch(version_1.CORRECT, account, request, charge)

    async def void(self, account: int, request: str) -> None:
        done = await self.connection.execute(version_1.VOID, account, request)
        assert done == "UPDATE 1"

    async def leave_tombstone(self, account: int, request: str) -> None:
        await self.connection.execute(version_1.LEAVE_TOMBSTONE, account, request, account)

    async def violations(self) -> list[str]:
        rows = await self.connection.fetch(version_1.VIOLATIONS)
        return [cast("str", row[0]) for row in rows]


async def write_every_kind_of_row(books: OldBooks) -> None:
    """Write requests that ended in every way, on three days, and what people enter."""
    await books.open_accounts()
    for number in range(12):
        account = number % ACCOUNTS + 1
        await _request_of_each_kind(books, account, f"tb_{number:02}")
    await books.enter(1, "top-up", 500, key="key-1")
    await books.enter(1, "set", -300, asked=-700)
    await books.enter(2, "adjustment", 0, asked=-10)
    await books.enter(2, "set", 0)
    await books.enter(3, "expiry", -5)
    await _spread_over_days(books.connection)
    for request, rates in (("tb_open_1", None), ("tb_open_2", RATES)):
        await books.place(3, request, 70, rates)
    await books.connection.execute(version_1.RENEW, 3, "tb_open_2")


async def _request_of_each_kind(books: OldBooks, account: int, name: str) -> None:
    await books.place(account, f"{name}_settled", rates=RATES)
    await books.place(account, f"{name}_over")
    await books.settle(account, f"{name}_settled")
    await books.settle(account, f"{name}_over", 130)
    await books.place(account, f"{name}_voided")
    await books.void(account, f"{name}_voided")
    await books.leave_tombstone(account, f"{name}_tomb")
    for ending in ("expired", "less", "more", "same"):
        await books.place(account, f"{name}_{ending}")
        await books.expire(account, f"{name}_{ending}")
    await books.enter(account, "refund", 45, f"{name}_less")
    await books.correct(account, f"{name}_less", 10)
    await books.correct(account, f"{name}_more", 101)
    await books.correct(account, f"{name}_same", 60)
    await books.enter(account, "refund", 7, f"{name}_more")
    await books.enter(account, "refund", 8, f"{name}_settled")


async def _spread_over_days(connection: Connection) -> None:
    """Let requests 0 to 3 be of two days ago, with corrections a day later, and sum them up."""
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        for table, columns in (
            ("holds", ("created_at", "ended_at")),
            ("usage", ("created_at",)),
            ("ledger_entries", ("created_at",)),
        ):
            moved = ", ".join(f"{name} = {name} - interval '2 days'" for name in columns)
            await connection.execute(
                f"UPDATE {table} SET {moved} WHERE request_id < 'tb_04'"  # noqa: S608 - constants
            )
        await connection.execute(
            "UPDATE usage SET corrected_at = corrected_at - interval '1 day'"
            " WHERE request_id < 'tb_04'"
        )
        await connection.execute(
            "UPDATE ledger_entries SET created_at = created_at + interval '1 day'"
            " WHERE request_id < 'tb_04' AND kind = 'adjustment'"
        )
        # In flight at the moment up to which all is summed.
        await connection.execute(
            "UPDATE holds SET created_at = created_at - interval '2 days'"
            " WHERE request_id = 'tb_05_voided'"
        )
    now = cast("datetime", await connection.fetchval("SELECT now()"))
    for statement in version_1.SUM_UP:
        days = "day < $1" in statement
        until = now - timedelta(days=1)
        await connection.execute(statement, until.date() if days else until)


class OldServer:
    """Requests that end in every way, a few at a time, while something else happens."""

    _AT_MOST = 80

    def __init__(self, books: OldBooks) -> None:
        self._books = books
        self.served = 0

    async def place(self) -> None:
        """Place the holds that are open at the start."""
        for number in range(self._AT_MOST):
            await self._books.place(1, f"tc_{number:02}_early")

    async def serve(self) -> None:
        """End a request of the start, one of the books, and some that begin now."""
        books, number = self._books, self.served
        self.served += 1
        await books.void(1, f"tc_{number:02}_early")
        name = f"td_{number:02}"
        await books.leave_tombstone(2, f"{name}_tomb")
        for ending in ("settled", "less", "same"):
            await books.place(2, f"{name}_{ending}")
        await books.settle(2, f"{name}_settled")
        for ending in ("less", "same"):
            await books.expire(2, f"{name}_{ending}")
        if number:
            # Perhaps they were copied meanwhile.
            await books.correct(2, f"td_{number - 1:02}_less", 5)
            await books.correct(2, f"td_{number - 1:02}_same", 60)
        if number < 12:
            await books.correct(number % ACCOUNTS + 1, f"tb_{number:02}_expired", 60 - number)
        await books.enter(3, "top-up", 1, key=f"meanwhile-{number}")
        if number % 10 == 0:
            assert await books.violations() == []
