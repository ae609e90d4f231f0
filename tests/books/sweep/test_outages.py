"""The sweep after the database was away: others get time for a heartbeat, and no error ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import (
    end_leases,
    hold_states,
)
from tests.support.sweeping import PATIENCE_S, Process, refuse, running, until_states
from tokenbalance.books.holds import sweep as module

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


async def test_others_get_time_for_a_heartbeat_after_the_database_was_away(
    pool: Pool,
    here: Process,
    elsewhere: Process,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _ = await elsewhere.hold(holder, "a")
    await end_leases(pool)
    await here.connect()
    with monkeypatch.context() as away:
        away.setattr(here.book, "renew", refuse(ConnectionResetError()))
        with pytest.raises(ConnectionResetError):
            await here.sweep._send_heartbeat()
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["open"]
    # It is back, but whoever else was cut off may not have noticed.
    here.sweep._heartbeat_s = PATIENCE_S
    await here.sweep._send_heartbeat()
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["open"]
    here.sweep._heartbeat_s = 0.05
    await here.connect()
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["expired"]


async def test_a_process_that_has_just_started_gives_others_time_for_a_heartbeat(
    pool: Pool, here: Process, elsewhere: Process, holder: Holder
) -> None:
    _ = await elsewhere.hold(holder, "a")
    await end_leases(pool)
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["open"]


@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(), ValueError("a fault")])
async def test_no_error_ends_the_heartbeats_or_the_sweeps(
    here: Process,
    elsewhere: Process,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    failed: set[str] = set()

    def fail_first(name: str) -> None:
        method: Callable[..., Awaitable[object]] = getattr(here.book, name)

        async def failing_first(*arguments: object) -> object:
            if name not in failed:
                failed.add(name)
                raise error
            return await method(*arguments)

        monkeypatch.setattr(here.book, name, failing_first)

    for name in ("renew", "lapsed", "expire"):
        fail_first(name)
    monkeypatch.setattr(module, "_RETRY_S", 0.02)
    _ = await elsewhere.hold(holder, "a")
    await end_leases(here.pool)
    async with running(here.sweep) as tasks:
        await until_states(here.pool, holder, ["expired"])
        assert failed == {"renew", "lapsed", "expire"}
        assert not tasks[0].done()
