"""Items of many accounts in one statement, and a queue for each account that is locked.

    shared batch    items of several accounts in one statement, which never waits for a lock; items
                    of an account that is locked, or that need a closer look, are left
    account queue   the items of one account, one statement after the other; each may wait for locks

While an account has a queue, new items of that account join it. So a locked account occupies one
connection and delays nobody else, and the items of a busy account keep their order. Must never know
what an item is.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from tokenbalance.database.batches import BATCH_MAX, Batches, Left

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tokenbalance.database.batches import Batch, HandedOver, Turns

Item = TypeVar("Item")
Result = TypeVar("Result")

Work: TypeAlias = "Callable[[Batch[Item, Result]], Coroutine[object, object, None]]"


class AccountQueues(Generic[Item, Result]):
    """Submits items to shared batches and account queues; callers need not know to which."""

    def __init__(
        self,
        shared: Work[Item, Result],
        queued: Work[Item, Result],
        account_of: Callable[[Item], int],
        size: int = BATCH_MAX,
        *,
        turns: Turns | None = None,
    ) -> None:
        """Start without any account queue.

        Args:
            shared: resolves what it can of a batch of several accounts; it never waits for a lock.
            queued: resolves all of a batch of one account.
            account_of: the account of an item.
            size: the most items in one statement.
            turns: of the shared batches, shared with other kinds; None for turns of their own.

        """
        self._send_shared = shared
        self._send_queued = queued
        self._account_of = account_of
        self._size = size
        self._shared = Batches[Item, Result](self._send, size, turns=turns)
        self._queues: dict[int, Batches[Item, Result]] = {}

    async def submit(self, item: Item) -> Result | Left:
        """Return the result of an item; `LEFT` if not even its account queue resolved it."""
        account_id = self._account_of(item)
        queue = self._queues.get(account_id)
        if queue is None:
            result = await self._shared.submit(item)
            if result is not Left.LEFT:
                return result
            queue = self._queue_of(account_id)
        return await queue.submit(item)

    def _send(
        self, batch: Batch[Item, Result]
    ) -> Coroutine[object, object, None] | HandedOver[Result]:
        """Send a shared batch; hand a batch of one account over to its account queue."""
        first = self._account_of(batch[0].item)
        if all(self._account_of(pending.item) == first for pending in batch):
            return self._queue_of(first).take_over(batch)
        return self._send_shared(batch)

    def _queue_of(self, account_id: int) -> Batches[Item, Result]:
        queue = self._queues.get(account_id)
        if queue is None:
            queue = self._queues[account_id] = Batches(
                self._send_queued,
                self._size,
                overlap_after_s=None,
                on_idle=partial(self._queues.pop, account_id, None),
            )
        return queue
