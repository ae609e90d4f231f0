"""The order of jobs between accounts, without threads or clocks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tokenbalance.offload.fair_queue import FairQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SMALL, LARGE = 10, 1000


class Jobs:
    """Submits jobs and ends them one by one; knows which have started, in their order."""

    def __init__(self, places: int) -> None:
        self.queue = FairQueue[str](places, SMALL)
        self.started: list[str] = []
        self.running: dict[str, asyncio.Future[str]] = {}
        self.tasks: dict[str, asyncio.Task[str]] = {}

    async def submit(self, name: str, account_id: int, size: int) -> None:
        def start() -> asyncio.Future[str]:
            self.started.append(name)
            self.running[name] = asyncio.get_running_loop().create_future()
            return self.running[name]

        self.tasks[name] = asyncio.create_task(self.queue.run(account_id, size, start))
        await settled()

    async def end(self, name: str) -> None:
        self.running.pop(name).set_result(name)
        await settled()

    async def end_all(self) -> list[str]:
        """End what runs, the first first, until nothing does."""
        while self.running:
            await self.end(next(iter(self.running)))
        return self.started


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def one() -> AsyncIterator[Jobs]:
    jobs = Jobs(1)
    yield jobs
    await jobs.end_all()
    assert not jobs.queue._accounts


@pytest.fixture
async def two() -> AsyncIterator[Jobs]:
    jobs = Jobs(2)
    yield jobs
    await jobs.end_all()
    assert not jobs.queue._accounts


async def test_a_job_returns_its_result(one: Jobs) -> None:
    await one.submit("a", 1, SMALL)
    await one.end("a")
    assert await one.tasks["a"] == "a"


async def test_an_error_reaches_the_caller_and_ends_the_turn(one: Jobs) -> None:
    await one.submit("a", 1, SMALL)
    await one.submit("b", 1, SMALL)
    one.running.pop("a").set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await one.tasks["a"]
    await settled()
    assert one.started == ["a", "b"]


async def test_only_one_job_of_an_account_runs_at_once(two: Jobs) -> None:
    for name in ("a1", "a2", "a3"):
        await two.submit(name, 1, SMALL)
    assert two.started == ["a1"]
    await two.submit("b1", 2, SMALL)
    assert two.started == ["a1", "b1"]
    await two.end("a1")
    assert two.started == ["a1", "b1", "a2"]


async def test_a_small_job_starts_at_once_whatever_others_have_submitted(two: Jobs) -> None:
    for account_id in range(1, 5):
        for number in range(4):
            await two.submit(f"large {account_id} {number}", account_id, LARGE)
    assert two.started == ["large 1 0"]
    await two.submit("small", 9, SMALL)
    assert two.started == ["large 1 0", "small"]


async def test_small_jobs_come_before_large_ones_that_wait(one: Jobs) -> None:
    await one.submit("first", 1, LARGE)
    await one.submit("large", 2, LARGE)
    await one.submit("middle", 3, LARGE // 2)
    await one.submit("small", 4, SMALL)
    assert await one.end_all() == ["first", "small", "middle", "large"]


async def test_the_small_jobs_of_an_account_come_before_its_large_ones(one: Jobs) -> None:
    await one.submit("first", 1, LARGE)
    await one.submit("large", 2, LARGE)
    await one.submit("small", 2, SMALL)
    assert await one.end_all() == ["first", "small", "large"]


async def test_accounts_take_turns(one: Jobs) -> None:
    for number in range(3):
        await one.submit(f"a{number}", 1, LARGE)
    for number in range(3):
        await one.submit(f"b{number}", 2, LARGE)
    assert await one.end_all() == ["a0", "b0", "a1", "b1", "a2", "b2"]


async def test_small_jobs_cannot_keep_a_large_one_waiting_for_ever(one: Jobs) -> None:
    await one.submit("first", 1, SMALL)
    await one.submit("large", 2, LARGE)
    for number in range(2 * LARGE // SMALL):
        await one.submit(f"small {number}", 10 + number, SMALL)
        await one.end(next(iter(one.running)))
    assert one.started.index("large") in range(LARGE // SMALL - 2, LARGE // SMALL + 2)


async def test_a_cancelled_job_that_waits_never_starts(one: Jobs) -> None:
    await one.submit("a", 1, SMALL)
    await one.submit("b", 2, SMALL)
    await one.submit("c", 3, SMALL)
    one.tasks["b"].cancel()
    await settled()
    assert 2 not in one.queue._accounts
    assert await one.end_all() == ["a", "c"]


async def test_a_cancelled_job_that_runs_keeps_its_place_until_it_ends(one: Jobs) -> None:
    await one.submit("a", 1, SMALL)
    await one.submit("b", 2, SMALL)
    one.tasks["a"].cancel()
    await settled()
    assert one.started == ["a"]
    await one.end("a")
    assert one.started == ["a", "b"]
