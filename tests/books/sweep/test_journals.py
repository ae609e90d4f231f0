"""The sweep and the journals of dead processes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.books import (
    account_of,
    charges_of,
    end_leases,
    entries_of,
    hold_states,
)
from tests.support.sweeping import (
    PATIENCE_S,
    USED,
    Process,
    damage,
    files,
    new_process,
    running,
    until_states,
)
from tokenbalance.books.holds.journal import Entry, adoption
from tokenbalance.model import Claim, Hold, Purpose, Usage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


async def test_usage_that_a_dead_process_knew_is_settled(
    pool: Pool, here: Process, beside: Process, holder: Holder, tmp_path: Path
) -> None:
    lease = await beside.hold(holder, "a")
    lease.slot.dispatch()
    lease.slot.use(USED)
    beside.die()
    await here.sweep._sweep()
    (charge,) = await charges_of(pool, holder)
    assert (charge["amount"], charge["estimated"]) == (-25, False)
    assert await hold_states(pool, holder) == ["settled"]
    assert files(tmp_path, "journal") == 1
    await here.sweep._sweep()
    assert (await account_of(pool, holder)).balance == 975


async def test_usage_is_settled_that_somebody_without_the_journal_had_estimated(
    pool: Pool, here: Process, beside: Process, holder: Holder
) -> None:
    lease = await beside.hold(holder, "a")
    lease.slot.dispatch()
    lease.slot.use(USED)
    beside.die()
    assert lease.hold
    assert await here.book.expire(lease.hold, Usage(total=40, estimated=True), orphaned=True)
    await here.sweep._sweep()
    assert [amount for _, amount, _ in await entries_of(pool, holder)] == [1000, -40, 15]
    assert await hold_states(pool, holder) == ["expired"]


async def test_what_a_dead_process_was_to_void_is_voided(
    pool: Pool, here: Process, beside: Process, holder: Holder
) -> None:
    lease = await beside.hold(holder, "a")
    lease.slot.dispatch()
    lease.slot.void()
    beside.die()
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["voided"]
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (1000, 0)


async def test_what_a_dead_process_was_to_void_is_given_back_if_it_was_estimated_meanwhile(
    pool: Pool, here: Process, beside: Process, holder: Holder
) -> None:
    lease = await beside.hold(holder, "a")
    lease.slot.dispatch()
    lease.slot.void()
    beside.die()
    assert lease.hold
    assert await here.book.expire(lease.hold, Usage(total=40, estimated=True), orphaned=True)
    await here.sweep._sweep()
    assert (await account_of(pool, holder)).balance == 1000


async def test_what_a_dead_process_had_dispatched_is_charged_what_is_known(
    pool: Pool, here: Process, beside: Process, holder: Holder
) -> None:
    lease = await beside.hold(holder, "a")
    lease.slot.dispatch()
    lease.look = lambda: lambda: Usage({"input": 7, "output": 3}, total=10)
    await beside.leases.send_heartbeat(beside.book)
    beside.die()
    # Its lease has not ended: its journal tells that it is gone.
    await here.sweep._sweep()
    (charge,) = await charges_of(pool, holder)
    assert (charge["amount"], charge["estimated"]) == (-10, True)
    assert await hold_states(pool, holder) == ["expired"]


async def test_what_a_dead_process_had_not_dispatched_is_voided_if_it_was_placed(
    pool: Pool, here: Process, beside: Process, holder: Holder
) -> None:
    _ = await beside.hold(holder, "held")
    purpose = Purpose("not held", "/chat/completions", None)
    _ = beside.leases.begin(holder.caller, purpose)
    beside.die()
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["voided"]
    assert await pool.fetchval("SELECT array_agg(request_id) FROM open_holds") == ["not held"]
    assert (await account_of(pool, holder)).held == 0


async def test_what_a_dead_process_was_to_void_has_its_row_even_if_the_database_forgot_its_hold(
    pool: Pool, here: Process, beside: Process, holder: Holder
) -> None:
    lease = await beside.hold(holder, "a")
    lease.dispatch()
    lease.slot.void()
    beside.die()
    await pool.execute("DELETE FROM open_holds")
    await pool.execute("UPDATE accounts SET held = 0")
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["voided"]
    assert lease.hold
    held = await pool.fetchval("SELECT hold FROM ledger WHERE request_id = 'a'")
    assert held == lease.hold.amount
    assert (await account_of(pool, holder)).held == 0


async def test_after_a_power_cut_what_seems_not_dispatched_is_left_to_its_lease(
    pool: Pool, here: Process, beside: Process, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ = await beside.hold(holder, "a")
    beside.die()
    monkeypatch.setattr(adoption, "boot_id", lambda: "another")
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["open"]
    await end_leases(pool)
    await here.connect()
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["expired"]


async def test_the_journal_of_a_process_that_lives_is_left_alone(
    pool: Pool, here: Process, beside: Process, holder: Holder
) -> None:
    lease = await beside.hold(holder, "a")
    lease.slot.dispatch()
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["open"]
    beside.die()
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["expired"]


async def test_a_journal_is_kept_aside_of_whose_requests_the_books_know_nothing(
    pool: Pool, here: Process, beside: Process, holder: Holder, tmp_path: Path
) -> None:
    lease = await beside.hold(holder, "known")
    lease.slot.dispatch()
    lease.slot.use(USED)
    stranger = beside.leases.journal.begin(Entry("unknown", 4711, 1, "/chat/completions"))
    stranger.dispatch()
    beside.die()
    await here.sweep._sweep()
    await here.sweep._sweep()
    assert (await account_of(pool, holder)).balance == 975
    assert files(tmp_path, "unmatched") == 1
    assert files(tmp_path, "journal") == 1


async def test_a_damaged_journal_is_applied_and_kept_aside(
    pool: Pool, here: Process, beside: Process, holder: Holder, tmp_path: Path
) -> None:
    lease = await beside.hold(holder, "known")
    lease.slot.dispatch()
    lease.slot.use(USED)
    beside.die()
    damage(beside.leases.journal._slots.file.path)
    await here.sweep._sweep()
    assert (await account_of(pool, holder)).balance == 975
    assert files(tmp_path, "unmatched") == 1


@pytest.mark.parametrize("dead", [1, 3])
async def test_journals_are_left_for_later_when_the_database_goes_meanwhile(
    pool: Pool,
    here: Process,
    holder: Holder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dead: int,
) -> None:
    for number in range(dead):
        process = await new_process(pool, tmp_path / "journal")
        for request_id in (f"{number} first", f"{number} second"):
            (await process.hold(holder, request_id)).slot.use(USED)
        process.die()
    settle = here.book.settle

    async def settle_first(hold: Hold, usage: Usage) -> object:
        if hold.request_id.endswith("second"):
            raise ConnectionResetError
        return await settle(hold, usage)

    with monkeypatch.context() as away:
        away.setattr(here.book, "settle", settle_first)
        with pytest.raises(ConnectionResetError):
            await here.sweep._sweep()
    assert files(tmp_path, "journal") == dead + 1
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["settled"] * 2 * dead
    assert (await account_of(pool, holder)).balance == 1000 - 2 * dead * 25
    assert files(tmp_path, "journal") == 1


async def test_of_sweeps_on_one_machine_one_takes_a_dead_processs_journal(
    pool: Pool, here: Process, beside: Process, holder: Holder, tmp_path: Path
) -> None:
    for number in range(10):
        (await beside.hold(holder, f"r{number}")).slot.use(USED)
    beside.die()
    other = await new_process(pool, tmp_path / "journal")
    await asyncio.gather(here.sweep._sweep(), other.sweep._sweep())
    other.leases.close_journal()
    assert await hold_states(pool, holder) == ["settled"] * 10
    assert (await account_of(pool, holder)).balance == 750


async def test_a_running_sweep_ends_what_a_process_that_dies_beside_it_leaves(
    pool: Pool, here: Process, beside: Process, holder: Holder
) -> None:
    (await beside.hold(holder, "used")).slot.use(USED)
    (await beside.hold(holder, "dispatched")).slot.dispatch()
    _ = await beside.hold(holder, "placing")
    mine = await here.hold(holder, "mine")
    async with running(here.sweep, beside.sweep):
        begun = await pool.fetchval("SELECT max(lease_until) FROM open_holds")
        async with asyncio.timeout(PATIENCE_S):
            while not await pool.fetchval("SELECT min(lease_until) > $1 FROM open_holds", begun):
                await asyncio.sleep(0.01)
        assert await hold_states(pool, holder) == ["open"] * 4
    beside.die()
    async with running(here.sweep):
        await until_states(pool, holder, ["settled", "expired", "voided", "open"])
    assert mine.hold
    await here.book.void(mine.hold)


async def test_a_request_whose_hold_the_database_forgot_expires_from_the_journal(
    pool: Pool, here: Process, beside: Process, holder: Holder, tmp_path: Path
) -> None:
    purpose = Purpose("a", "/chat/completions", "gpt-4o-mini")
    lease = beside.leases.begin(holder.caller, purpose)
    assert await lease.place(beside.book, Claim(60, 60, known_input=9)) is not None
    lease.dispatch()
    beside.die()
    await pool.execute("DELETE FROM open_holds")
    await pool.execute("UPDATE accounts SET held = 0")
    for _ in range(2):
        await here.sweep._sweep()
        assert await hold_states(pool, holder) == ["expired"]
        assert (await account_of(pool, holder)).balance == 1000 - 9
    assert files(tmp_path, "journal") == 1


async def test_usage_of_a_hold_that_the_database_forgot_is_settled_from_the_journal(
    pool: Pool, here: Process, beside: Process, holder: Holder
) -> None:
    lease = await beside.hold(holder, "a")
    lease.dispatch()
    lease.slot.use(USED)
    beside.die()
    await pool.execute("DELETE FROM open_holds")
    await pool.execute("UPDATE accounts SET held = 0")
    await here.sweep._sweep()
    assert (await account_of(pool, holder)).balance == 975
    assert await hold_states(pool, holder) == ["settled"]


async def test_a_heartbeat_restores_what_the_database_forgot(
    pool: Pool, here: Process, holder: Holder
) -> None:
    lease = await here.hold(holder, "a")
    assert lease.hold
    await pool.execute("DELETE FROM open_holds")
    await pool.execute("UPDATE accounts SET held = 0")
    await here.sweep._send_heartbeat()
    assert (await account_of(pool, holder)).held == lease.hold.amount
    assert await hold_states(pool, holder) == ["open"]
