"""What wakes a waiter from outside of its process: holds that end elsewhere, and top-ups."""

from __future__ import annotations

import asyncio
from statistics import median
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.support.books import placed
from tests.support.waiters import PATIENCE_S, Process, nobody_stands, void
from tokenbalance.books.ledger import credits as credit
from tokenbalance.model import Actor

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Sessions


ACROSS_PROCESSES_S = 1.0
"""A generous bound; what is promised is 250 ms."""


async def test_a_hold_that_ends_elsewhere_is_noticed_within_a_second(
    here: Process, there: Process, holder: Holder
) -> None:
    took: list[float] = []
    for number in range(5):
        hold = await placed(there.book, holder, f"a{number}", 100)
        waiting = await here.begin(holder, f"b{number}", 100)
        await void(there.book, hold)
        ended = monotonic()
        mine = await waiting
        took.append(monotonic() - ended)
        assert mine is not None
        await void(here.book, mine)
        await nobody_stands(here.pool)
    assert median(took) < ACROSS_PROCESSES_S


async def test_a_top_up_lets_a_request_go_on(
    here: Process, holder: Holder, sessions: Sessions
) -> None:
    _ = await placed(here.book, holder, "a", 60)
    waiting = await here.begin(holder, "b", 50)
    async with sessions.begin() as session:
        await credit.add(session, holder.account_id, 10, credit.Cause(Actor("tests")))
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting is not None


@pytest.mark.parametrize("of_the_account", [1, 20])
async def test_everybody_far_back_is_served_after_one_top_up(
    here: Process, holder: Holder, sessions: Sessions, of_the_account: int
) -> None:
    _ = await placed(here.book, holder, "a", 100)
    waiting = [await here.begin(holder, f"r{number}", 5) for number in range(of_the_account)]
    async with sessions.begin() as session:
        await credit.add(
            session, holder.account_id, 5 * of_the_account, credit.Cause(Actor("tests"))
        )
    async with asyncio.timeout(PATIENCE_S):
        assert None not in await asyncio.gather(*waiting)
    # Where there is enough for several, they may overtake each other.
    assert sorted(here.turns) == sorted(f"r{number}" for number in range(of_the_account))
