"""The sweep and lapsed leases: whose holds it ends, and whose it leaves alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.books import (
    account_of,
    charges_of,
    end_leases,
    hold_states,
)
from tests.support.request_rows import REQUESTS
from tests.support.sweeping import PATIENCE_S, Process, new_process, running, until_states
from tokenbalance.books.holds import sweep as module
from tokenbalance.database.connections import open_pool
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.support.books import Holder
    from tokenbalance.books.ledger.book import Known
    from tokenbalance.database.connections import Pool


async def test_the_lapsed_hold_of_a_dead_process_is_charged_what_its_last_heartbeat_noted(
    pool: Pool, here: Process, elsewhere: Process, holder: Holder
) -> None:
    lease = await elsewhere.hold(holder, "a")
    lease.look = lambda: lambda: Usage({"input": 7, "output": 3}, total=10)
    await elsewhere.leases.send_heartbeat(elsewhere.book)
    await end_leases(pool)
    await here.connect()
    await here.sweep._sweep()
    (charge,) = await charges_of(pool, holder)
    assert (charge["amount"], charge["estimated"]) == (-10, True)
    assert await hold_states(pool, holder) == ["expired"]


async def test_a_hold_lapses_by_itself_once_its_heartbeats_stop(
    pool: Pool, here: Process, elsewhere: Process, holder: Holder
) -> None:
    renewed, _ = await elsewhere.hold(holder, "a"), await here.hold(holder, "b")
    async with running(here.sweep, elsewhere.sweep):
        # Several leases long, both processes live, and what they hold stays.
        begun = await pool.fetchval("SELECT max(lease_until) FROM open_holds")
        async with asyncio.timeout(PATIENCE_S):
            while not await pool.fetchval(
                "SELECT now() > $1::timestamptz + interval '0.6 s'", begun
            ):
                await asyncio.sleep(0.02)
        assert await hold_states(pool, holder) == ["open", "open"]
    assert renewed.hold
    async with running(here.sweep):
        await until_states(pool, holder, ["expired", "open"])
    assert await pool.fetchval("SELECT request_id FROM ledger WHERE state = 'expired'") == "a"


async def test_of_several_sweeps_one_expires_a_hold(
    dsn: str, pool: Pool, here: Process, elsewhere: Process, holder: Holder, tmp_path: Path
) -> None:
    for number in range(20):
        lease = await elsewhere.hold(holder, f"r{number}", 10)
        lease.look = lambda: lambda: Usage({"input": 2, "output": 1}, total=3)
    await elsewhere.leases.send_heartbeat(elsewhere.book)
    await end_leases(pool)
    async with open_pool(dsn, 4) as other_pool:
        others = [await new_process(other_pool, tmp_path / f"other {n}") for n in range(3)]
        sweeping = [here, *others]
        await asyncio.gather(*(process.connect() for process in sweeping))
        await asyncio.gather(*(process.sweep._sweep() for process in sweeping))
        for process in others:
            process.leases.close_journal()
    assert await hold_states(pool, holder) == ["expired"] * 20
    assert len(await charges_of(pool, holder)) == 20
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (1000 - 20 * 3, 0)


async def test_a_process_never_expires_what_it_holds_itself(
    pool: Pool, here: Process, elsewhere: Process, holder: Holder
) -> None:
    _ = await here.hold(holder, "mine")
    _ = await elsewhere.hold(holder, "theirs")
    await here.connect()
    await end_leases(pool)
    await here.sweep._sweep()
    rows = await pool.fetch(
        f"SELECT request_id, state FROM {REQUESTS} r ORDER BY request_id"  # noqa: S608 - a constant
    )
    assert [tuple(row) for row in rows] == [("mine", "open"), ("theirs", "expired")]


async def test_a_lease_that_is_renewed_while_another_sweeps_is_not_ended(
    pool: Pool,
    here: Process,
    elsewhere: Process,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _ = await elsewhere.hold(holder, "a")
    await here.connect()
    await end_leases(pool)
    lapsed = here.book.lapsed
    listed: list[str] = []

    async def renewed_just_in_time(limit: int) -> list[Known]:
        found = await lapsed(limit)
        listed.extend(known.hold.request_id for known in found)
        await elsewhere.leases.send_heartbeat(elsewhere.book)
        return found

    monkeypatch.setattr(here.book, "lapsed", renewed_just_in_time)
    await here.sweep._sweep()
    assert listed == ["a"]
    assert await hold_states(pool, holder) == ["open"]


async def test_one_sweep_ends_more_than_one_statement_lists(
    pool: Pool,
    here: Process,
    elsewhere: Process,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_HOLDS_AT_ONCE", 3)
    for number in range(7):
        _ = await elsewhere.hold(holder, f"r{number}", 10)
    await here.connect()
    await end_leases(pool)
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["expired"] * 7
