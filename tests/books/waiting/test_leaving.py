"""Waiters that leave without a hold: hopeless, late, cancelled, or too many."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder, hold_states, placed
from tests.support.waiters import PATIENCE_S, Process, nobody_stands, settle, standing, until, void
from tokenbalance.books.holds import waiting

if TYPE_CHECKING:
    from tests.support.books import Holder


@pytest.mark.usefixtures("blind")
async def test_what_a_charge_has_made_hopeless_is_refused_at_once(
    here: Process, holder: Holder
) -> None:
    hold = await placed(here.book, holder, "a", 60)
    waiting = await here.begin(holder, "b", 80, minimum=50)
    await settle(here.book, hold, 51)
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting is None
    await nobody_stands(here.pool)
    assert await hold_states(here.pool, holder) == ["settled"]


async def test_what_becomes_hopeless_elsewhere_is_refused_though_others_wait_in_front(
    here: Process, there: Process, holder: Holder
) -> None:
    settled = await placed(there.book, holder, "a", 50)
    _ = await placed(there.book, holder, "b", 50)
    front = await here.begin(holder, "front", 50)
    waiting = await here.begin(holder, "c", 80, minimum=60)
    await settle(there.book, settled, 45)
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting is None
    assert not front.done()
    front.cancel()
    await nobody_stands(here.pool)


async def test_who_has_waited_long_enough_is_refused_and_leaves_no_row(
    here: Process, holder: Holder
) -> None:
    _ = await placed(here.book, holder, "a", 60)
    began = monotonic()
    assert await here.wait(holder, "b", 50, wait_s=0.2) is None
    assert monotonic() - began >= 0.2
    await nobody_stands(here.pool)
    assert await hold_states(here.pool, holder) == ["open"]


@pytest.mark.usefixtures("blind")
async def test_whoever_leaves_lets_the_one_behind_try(here: Process, holder: Holder) -> None:
    _ = await placed(here.book, holder, "a", 60)
    _ = await here.begin(holder, "large", 90, wait_s=0.2)
    small = await here.begin(holder, "small", 40)
    async with asyncio.timeout(PATIENCE_S):
        assert await small is not None
    assert here.turns == ["small"]


@pytest.mark.usefixtures("blind")
async def test_who_is_cancelled_leaves_no_row_and_lets_the_one_behind_try(
    here: Process, holder: Holder
) -> None:
    _ = await placed(here.book, holder, "a", 60)
    large = await here.begin(holder, "large", 90)
    small = await here.begin(holder, "small", 40)
    large.cancel()
    async with asyncio.timeout(PATIENCE_S):
        assert await small is not None
    with pytest.raises(asyncio.CancelledError):
        await large
    await nobody_stands(here.pool)
    assert await hold_states(here.pool, holder) == ["open", "open"]


async def test_the_line_of_an_account_is_bounded(
    here: Process, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "WAITERS_MAX", 2)
    hold = await placed(here.book, holder, "a", 100)
    line = [await here.begin(holder, name, 100) for name in "bc"]
    assert await here.wait(holder, "d", 1) is None
    other = await create_holder(here.pool, 100)
    assert await here.wait(other, "of another account", 100) is not None
    await void(here.book, hold)
    assert await line[0] is not None
    line.append(await here.begin(holder, "e", 100))
    for task in line[1:]:
        task.cancel()
    await nobody_stands(here.pool)


async def test_the_line_is_bounded_for_those_who_come_at_once(
    here: Process, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "WAITERS_MAX", 3)
    _ = await placed(here.book, holder, "a", 100)
    asking = [asyncio.create_task(here.wait(holder, f"r{n}", 100)) for n in range(12)]
    refused, waiting_here = await asyncio.wait(
        asking, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S
    )
    while len(refused) < 9:
        more, waiting_here = await asyncio.wait(
            waiting_here, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S
        )
        assert more
        refused |= more
    await until(lambda: standing(here.pool), 3)
    assert len(here.line(holder)) == 3
    for task in waiting_here:
        task.cancel()
    await nobody_stands(here.pool)
