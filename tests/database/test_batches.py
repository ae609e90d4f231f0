"""Batches: what is sent when, and who gets which answer. Nothing here asks a database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tokenbalance.books.ledger.account_queues import AccountQueues
from tokenbalance.database.batches import Batches, Left, Turns

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tokenbalance.database.batches import Batch

LIMIT_S = 10.0
LONG_S = 60.0
"""Longer than any of these tests takes."""


class Database:
    """Answers every number with its square, when it is told to."""

    def __init__(self) -> None:
        self.sent: list[list[int]] = []
        self._gates: list[asyncio.Future[Exception | None]] = []
        self._arrived = asyncio.Event()

    async def square(self, batch: Batch[int, int]) -> None:
        gate: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.sent.append([pending.item for pending in batch])
        self._gates.append(gate)
        self._arrived.set()
        error = await gate
        if error is not None:
            raise error
        for pending in batch:
            pending.resolve(pending.item**2)

    def reply(self, number: int = 0, error: Exception | None = None) -> None:
        """Let the batch with this number be answered."""
        self._gates[number].set_result(error)

    async def got(self, count: int) -> None:
        """Wait until so many batches were sent."""
        async with asyncio.timeout(LIMIT_S):
            while len(self.sent) < count:
                self._arrived.clear()
                await self._arrived.wait()


@pytest.fixture
def database() -> Database:
    return Database()


async def turns(count: int = 5) -> None:
    """Let everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_one_alone_is_sent_at_once(database: Database) -> None:
    response = Batches(database.square, overlap_after_s=LONG_S).submit(3)
    await turns(2)
    assert database.sent == [[3]]
    database.reply()
    assert await response == 9


async def test_those_of_one_turn_go_together(database: Database) -> None:
    batches = Batches(database.square, overlap_after_s=LONG_S)
    responses = [batches.submit(number) for number in range(5)]
    await database.got(1)
    database.reply()
    assert await asyncio.gather(*responses) == [0, 1, 4, 9, 16]
    assert database.sent == [[0, 1, 2, 3, 4]]


async def test_who_comes_meanwhile_goes_as_soon_as_the_batch_is_back(database: Database) -> None:
    batches = Batches(database.square, overlap_after_s=LONG_S)
    first = batches.submit(1)
    await database.got(1)
    later = [batches.submit(2), batches.submit(3)]
    await turns()
    assert database.sent == [[1]]
    database.reply(0)
    await first
    await database.got(2)
    assert database.sent == [[1], [2, 3]]
    database.reply(1)
    assert await asyncio.gather(*later) == [4, 9]


async def test_a_batch_that_takes_long_is_overtaken(database: Database) -> None:
    batches = Batches(database.square, overlap_after_s=0.01)
    slow = batches.submit(1)
    await database.got(1)
    fast = batches.submit(2)
    await database.got(2)
    database.reply(1)
    assert await fast == 4
    assert not slow.done()
    database.reply(0)
    assert await slow == 1


async def test_kinds_that_share_their_turns_gather_while_another_is_under_way(
    database: Database,
) -> None:
    shared = Turns()
    holds, ends = (Batches(database.square, turns=shared, overlap_after_s=LONG_S) for _ in range(2))
    first = holds.submit(1)
    await database.got(1)
    later = [ends.submit(2), holds.submit(3), ends.submit(4)]
    await turns()
    assert database.sent == [[1]]
    for number in range(3):
        await database.got(number + 1)
        database.reply(number)
    assert await asyncio.gather(first, *later) == [1, 4, 9, 16]
    assert database.sent == [[1], [2, 4], [3]]


async def test_a_turn_is_not_given_to_a_kind_whose_askers_are_gone(database: Database) -> None:
    shared = Turns()
    kinds = [Batches(database.square, turns=shared, overlap_after_s=LONG_S) for _ in range(3)]
    first, gone, last = (kind.submit(number) for number, kind in enumerate(kinds, start=1))
    await database.got(1)
    assert gone.cancel()
    database.reply(0)
    await database.got(2)
    database.reply(1)
    assert (await first, await last) == (1, 9)


async def test_a_turn_that_takes_long_keeps_no_other_kind_waiting(database: Database) -> None:
    shared = Turns()
    holds, ends = (Batches(database.square, turns=shared, overlap_after_s=0.01) for _ in range(2))
    slow = holds.submit(1)
    await database.got(1)
    fast = ends.submit(2)
    await database.got(2)
    database.reply(1)
    assert await fast == 4
    database.reply(0)
    assert await slow == 1


async def test_a_line_is_not_overtaken(database: Database) -> None:
    batches = Batches(database.square, overlap_after_s=None)
    first = batches.submit(1)
    await database.got(1)
    second = batches.submit(2)
    assert batches._due is None  # no timer at all
    database.reply(0)
    await database.got(2)
    database.reply(1)
    assert (await first, await second) == (1, 4)


async def test_no_statement_gets_more_than_it_may_and_a_full_one_waits_for_none(
    database: Database,
) -> None:
    batches = Batches(database.square, 2, overlap_after_s=LONG_S)
    responses = [batches.submit(number) for number in range(5)]
    await database.got(2)
    assert database.sent == [[0, 1], [2, 3]]
    responses.append(batches.submit(5))
    await database.got(3)
    for number in range(3):
        database.reply(number)
    assert await asyncio.gather(*responses) == [0, 1, 4, 9, 16, 25]
    assert database.sent == [[0, 1], [2, 3], [4, 5]]


async def test_no_statement_of_a_line_gets_more_than_it_may(database: Database) -> None:
    batches = Batches(database.square, 2, overlap_after_s=None)
    responses = [batches.submit(number) for number in range(5)]
    for count in range(3):
        await database.got(count + 1)
        assert len(database.sent) == count + 1
        database.reply(count)
    assert await asyncio.gather(*responses) == [0, 1, 4, 9, 16]
    assert database.sent == [[0, 1], [2, 3], [4]]


async def test_who_goes_before_the_batch_is_sent_is_left_out(database: Database) -> None:
    batches = Batches(database.square, overlap_after_s=LONG_S)
    first, gone, kept = batches.submit(1), batches.submit(2), batches.submit(3)
    gone.cancel()
    await database.got(1)
    database.reply()
    assert (await first, await kept) == (1, 9)
    assert database.sent == [[1, 3]]


async def test_when_all_have_gone_nothing_is_sent(database: Database) -> None:
    idle = asyncio.Event()
    batches = Batches(database.square, overlap_after_s=LONG_S, on_idle=idle.set)
    batches.submit(1).cancel()
    await asyncio.wait_for(idle.wait(), LIMIT_S)
    assert database.sent == []


async def test_who_goes_later_leaves_the_others_theirs(database: Database) -> None:
    batches = Batches(database.square, overlap_after_s=LONG_S)
    gone, kept = batches.submit(1), batches.submit(2)
    await database.got(1)
    gone.cancel()
    database.reply()
    assert await kept == 4


async def test_an_error_reaches_everybody_in_the_batch_and_nobody_behind_it(
    database: Database,
) -> None:
    batches = Batches(database.square, overlap_after_s=LONG_S)
    lost = [batches.submit(1), batches.submit(2)]
    await database.got(1)
    behind = batches.submit(3)
    database.reply(0, ConnectionResetError())
    for response in lost:
        with pytest.raises(ConnectionResetError):
            await response
    await database.got(2)
    database.reply(1)
    assert await behind == 9


async def test_who_stands_in_line_behind_a_timeout_is_told_as_well(database: Database) -> None:
    batches = Batches(database.square, overlap_after_s=None)
    first = batches.submit(1)
    await database.got(1)
    behind = batches.submit(2)
    database.reply(0, TimeoutError())
    for response in (first, behind):
        with pytest.raises(TimeoutError):
            await response
    after = batches.submit(3)
    await database.got(2)
    assert database.sent == [[1], [3]]
    database.reply(1)
    assert await after == 9


async def test_what_a_batch_does_not_answer_is_left() -> None:
    async def halves(batch: Batch[int, int]) -> None:
        for pending in batch:
            if pending.item % 2 == 0:
                pending.resolve(pending.item // 2)

    batches = Batches(halves)
    responses = [batches.submit(number) for number in (2, 3, 4)]
    assert await asyncio.gather(*responses) == [1, Left.LEFT, 2]


# Shared batches and account queues. An item is the account and a number.


class Accounts:
    """Notes what is sent; a shared batch leaves what belongs to a locked account."""

    def __init__(self) -> None:
        self.locked: set[int] = set()
        self.shared_batches: list[list[tuple[int, int]]] = []
        self.queues: list[list[tuple[int, int]]] = []
        self.unlocked = asyncio.Event()
        self.waiting = asyncio.Event()

    async def shared(self, batch: Batch[tuple[int, int], int]) -> None:
        self.shared_batches.append([pending.item for pending in batch])
        for pending in batch:
            if pending.item[0] not in self.locked:
                pending.resolve(pending.item[1])

    async def queue(self, batch: Batch[tuple[int, int], int]) -> None:
        self.queues.append([pending.item for pending in batch])
        if batch[0].item[0] in self.locked:
            self.waiting.set()
            await self.unlocked.wait()
        for pending in batch:
            pending.resolve(pending.item[1])

    def at_once(self) -> AccountQueues[tuple[int, int], int]:
        return AccountQueues(self.shared, self.queue, lambda item: item[0])


async def gathered(work: list[Coroutine[object, object, object]]) -> list[object]:
    async with asyncio.timeout(LIMIT_S):
        return list(await asyncio.gather(*work))


async def test_one_account_alone_goes_to_its_queue() -> None:
    accounts = Accounts()
    at_once = accounts.at_once()
    assert await gathered([at_once.submit((1, number)) for number in range(3)]) == [0, 1, 2]
    assert (accounts.shared_batches, accounts.queues) == ([], [[(1, 0), (1, 1), (1, 2)]])


async def test_a_locked_account_stands_in_its_own_line_and_the_others_go_on() -> None:
    accounts = Accounts()
    accounts.locked.add(1)
    at_once = accounts.at_once()
    stuck = [asyncio.create_task(at_once.submit((1, number))) for number in range(2)]
    assert await gathered([at_once.submit((2, 7)), at_once.submit((3, 8))]) == [7, 8]
    await asyncio.wait_for(accounts.waiting.wait(), LIMIT_S)
    assert not any(task.done() for task in stuck)
    # While the account has a queue, whoever asks for it joins the queue.
    late = asyncio.create_task(at_once.submit((1, 2)))
    assert await gathered([at_once.submit((2, 9)), at_once.submit((3, 10))]) == [9, 10]
    assert accounts.queues == [[(1, 0), (1, 1)]]
    accounts.unlocked.set()
    assert await gathered([*map(joined, (*stuck, late))]) == [0, 1, 2]
    assert accounts.queues == [[(1, 0), (1, 1)], [(1, 2)]]
    assert (1, 2) not in [item for batch in accounts.shared_batches for item in batch]


async def joined(task: asyncio.Task[object]) -> object:
    return await task


async def test_a_line_is_gone_when_nobody_stands_in_it() -> None:
    accounts = Accounts()
    at_once = accounts.at_once()
    _ = await at_once.submit((1, 1))
    await turns()
    assert at_once._queues == {}


async def test_who_leaves_a_line_leaves_nothing() -> None:
    accounts = Accounts()
    at_once = accounts.at_once()
    asking = asyncio.create_task(at_once.submit((1, 1)))
    await turns(1)
    asking.cancel()
    await asyncio.wait([asking])
    await turns()
    assert (at_once._queues, accounts.queues) == ({}, [])


async def test_while_one_account_is_asked_for_the_others_gather() -> None:
    accounts = Accounts()
    accounts.locked.add(1)
    at_once = accounts.at_once()
    first = asyncio.create_task(at_once.submit((1, 1)))
    await asyncio.wait_for(accounts.waiting.wait(), LIMIT_S)
    others: list[asyncio.Task[int | Left]] = []
    for account in (2, 3):
        others.append(asyncio.create_task(at_once.submit((account, account))))
        await turns()
    assert await gathered([*map(joined, others)]) == [2, 3]
    assert accounts.shared_batches == [[(2, 2), (3, 3)]]
    accounts.unlocked.set()
    assert await first == 1
