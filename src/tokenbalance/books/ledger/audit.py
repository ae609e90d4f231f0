"""The audit: checks every invariant that the tables can show, in one snapshot.

Only reads, in one transaction, so it is right while requests run, and it does not rely on earlier
audits. The invariants and their SQL are in `invariants`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from tokenbalance.books.ledger.invariants import GRANTS, LEDGER, REQUESTS_AND_THEIR_ENDS
from tokenbalance.database.connections import Pool

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    from tokenbalance.books.ledger.invariants import Proof

    Connection: TypeAlias = (
        "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
    )

VIOLATIONS_MAX: Final = 1000
"""The most lines for each invariant."""
_TIMEOUT_S: Final = 600.0

# With this, sorts of a million entries or requests stay in memory, 100 MB each and three at a time;
# larger ones spill to disk. JIT would take longer to compile than it saves.
_SET_UP: Final = "SET LOCAL work_mem = '128MB'; SET LOCAL jit = off"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was checked and what is broken, in one snapshot."""

    ok: bool
    accounts: int
    entries: int
    open_holds: int
    violations: list[str]
    """One line each, with ids; at most `VIOLATIONS_MAX` for each invariant."""


async def audit(database: Pool | Connection, second: Connection | None = None) -> AuditReport:
    """Check the books in one read-only snapshot, while requests run.

    Args:
        database: where the books are.
        second: another connection to it, which does half of the work in parallel.

    """
    if isinstance(database, Pool):
        async with database.acquire() as connection:
            return await audit(connection, second)
    async with database.transaction(isolation="repeatable_read", readonly=True):
        if second is None:
            counts, violations = await _prove(database, LEDGER)
            violations += (await _prove(database, REQUESTS_AND_THEIR_ENDS))[1]
        else:
            snapshot = cast("str", await database.fetchval("SELECT pg_export_snapshot()"))
            async with asyncio.TaskGroup() as halves:
                ledger = halves.create_task(_prove(database, LEDGER))
                requests = halves.create_task(_prove_requests(second, snapshot))
            counts, violations = ledger.result()
            violations += requests.result()
        violations += (await _prove(database, GRANTS))[1]
    accounts, entries, open_holds = counts
    return AuditReport(not violations, accounts, entries, open_holds, violations)


async def _prove_requests(connection: Connection, snapshot: str) -> list[str]:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        return (await _prove(connection, REQUESTS_AND_THEIR_ENDS))[1]


async def _prove(connection: Connection, proof: Proof) -> tuple[list[int], list[str]]:
    """Return the counts of the proof and the violations that it found."""
    await connection.execute(_SET_UP)
    row = (await connection.fetch(proof.statement, timeout=_TIMEOUT_S))[0]
    counts = cast("list[int]", [*row[: len(proof.counts)]])
    fails = cast("list[bool]", [*row[len(proof.counts) :]])
    violations: list[str] = []
    for invariant in compress(proof.invariants, fails):
        rows = await connection.fetch(
            f"{invariant.names} LIMIT {VIOLATIONS_MAX}", timeout=_TIMEOUT_S
        )
        violations += [cast("str", row[0]) for row in rows]
    return counts, violations
