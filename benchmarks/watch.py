"""The watch: audits the books and limits every second for as long as it is let, past every fault.

It has a connection of its own that no fault is put before, and knows nothing of what goes on.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from benchmarks.admissions import over_limits
from tokenbalance.books.ledger.audit import audit
from tokenbalance.database.connections import UNAVAILABLE

EVERY_S: Final = 1.0
RESPONSE_S: Final = 10.0


@dataclass(slots=True)
class Watch:
    """What the audits have seen so far."""

    dsn: str
    audits: int = 0
    unanswered: int = 0
    """Audits to which the database did not respond."""
    violations: dict[str, float] = field(default_factory=dict)
    """Each with when it was first seen, in seconds from the beginning."""
    lowest: int | None = None
    """The lowest balance ever seen, overdraft included."""

    async def run(self) -> None:
        """Audit until cancelled."""
        began = asyncio.get_running_loop().time()
        while True:
            try:
                await self.look(asyncio.get_running_loop().time() - began)
            except UNAVAILABLE:
                self.unanswered += 1
            await asyncio.sleep(EVERY_S)

    async def look(self, at_s: float) -> None:
        """Audit once.

        Raises what asyncpg raises, and TimeoutError.
        """
        async with asyncio.timeout(RESPONSE_S):
            connection = await asyncpg.connect(self.dsn)
            try:
                report = await audit(connection)
                over = await over_limits(connection)
                lowest = await connection.fetchval("SELECT min(balance + overdraft) FROM accounts")
            finally:
                connection.terminate()
        self.audits += 1
        for violation in (*report.violations, *over):
            _ = self.violations.setdefault(violation, at_s)
        self.lowest = lowest if self.lowest is None else min(lowest, self.lowest)


async def until_no_hold_is_open(dsn: str, limit_s: float) -> tuple[int, float]:
    """Wait for the last hold to end; returns how many are left, and how long it took."""
    clock = asyncio.get_running_loop().time
    began = clock()
    connection = await asyncpg.connect(dsn)
    try:
        while True:
            left = await connection.fetchval("SELECT count(*) FROM open_holds WHERE amount > 0")
            took_s = clock() - began
            if left == 0 or took_s >= limit_s:
                return int(left), took_s
            await asyncio.sleep(0.2)
    finally:
        await connection.close()
