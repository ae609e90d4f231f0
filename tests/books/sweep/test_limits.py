"""What dead processes had taken from limits is given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import end_leases
from tests.support.limits import caller_of, counts, limit_key
from tokenbalance.model import Claim, Purpose, Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tests.support.sweeping import Process
    from tokenbalance.books.holds.leases import Lease
    from tokenbalance.database.connections import Pool, Sessions

LIMITS = {"parallel_requests": 2, "tokens_per_day": 1000, "credits_total": 1000}
NOTHING = dict.fromkeys(LIMITS, (0, 0))


async def begin(process: Process, pool: Pool, holder: Holder) -> Lease:
    """Begin a request of a limited key, as far as its dispatch."""
    caller = await caller_of(pool, holder)
    lease = process.leases.begin(caller, Purpose("a", "/chat/completions", None))
    assert await lease.place(process.book, Claim(60, 60, known_input=7, tokens=200)) is not None
    lease.dispatch()
    return lease


async def forget(pool: Pool) -> None:
    """Lose what a crash of the database loses."""
    await pool.execute("DELETE FROM open_holds")
    await pool.execute("UPDATE accounts SET held = 0")
    await pool.execute("UPDATE limits SET reserved = 0, taken_until = '-infinity'")


@pytest.mark.parametrize("is_forgotten", [False, True])
async def test_what_a_dead_process_had_dispatched_counts_as_far_as_is_known(
    pool: Pool,
    sessions: Sessions,
    here: Process,
    beside: Process,
    holder: Holder,
    *,
    is_forgotten: bool,
) -> None:
    await limit_key(sessions, holder, **LIMITS)
    _ = await begin(beside, pool, holder)
    assert await counts(pool) == {
        "parallel_requests": (0, 1),
        "tokens_per_day": (0, 200),
        "credits_total": (0, 60),
    }
    beside.die()
    if is_forgotten:
        await forget(pool)
    await here.sweep._sweep()
    assert await counts(pool) == {
        "parallel_requests": (0, 0),
        "tokens_per_day": (7, 0),
        "credits_total": (7, 0),
    }


async def test_what_a_dead_process_was_to_void_is_free_again(
    pool: Pool, sessions: Sessions, here: Process, beside: Process, holder: Holder
) -> None:
    await limit_key(sessions, holder, **LIMITS)
    lease = await begin(beside, pool, holder)
    lease.slot.void()
    beside.die()
    await here.sweep._sweep()
    assert await counts(pool) == NOTHING


async def test_a_lapsed_hold_of_another_machine_is_free_again(
    pool: Pool, sessions: Sessions, here: Process, elsewhere: Process, holder: Holder
) -> None:
    await limit_key(sessions, holder, **LIMITS)
    _ = await begin(elsewhere, pool, holder)
    elsewhere.die()
    await here.connect()
    await end_leases(pool)
    await here.sweep._sweep()
    assert (await counts(pool))["parallel_requests"] == (0, 0)


async def test_a_forgotten_hold_takes_again_what_it_took(
    pool: Pool, sessions: Sessions, here: Process, holder: Holder
) -> None:
    await limit_key(sessions, holder, **LIMITS)
    lease = await begin(here, pool, holder)
    before = await counts(pool)
    await forget(pool)
    await here.leases.send_heartbeat(here.book)
    assert await counts(pool) == before
    assert lease.hold is not None
    _ = await here.book.settle(lease.hold, Usage.counted(5, 5))
    assert await counts(pool) == {
        "parallel_requests": (0, 0),
        "tokens_per_day": (10, 0),
        "credits_total": (10, 0),
    }
    here.leases.end(lease)
