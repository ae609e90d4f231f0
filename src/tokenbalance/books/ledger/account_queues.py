"""Many accounts in one statement, and a queue for each that has to be waited for.

    shared   items of many accounts, in one statement that waits for nobody's lock; what belongs to
             an account that is locked, or needs a closer look, is left
    queue    the items of one account, one statement after another, each of which may wait

While an account has a queue, who asks for it joins the queue: so a locked account keeps one
connection from the others, and a busy one has its order. Must never know what is asked.
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
    """Asks for items of many accounts; who asks need not know how it went there."""

    def __init__(
        self,
        shared: Work[Item, Result],
        queue: Work[Item, Result],
        account_of: Callable[[Item], int],
        size: int = BATCH_MAX,
        *,
        turns: Turns | None = None,
    ) -> None:
        """Ask nothing yet.

        Args:
            shared: answers what it can of a batch of several accounts, and never waits for a lock.
            queue: answers all of a batch of one account.
            account_of: whose an item is.
            size: items at most of a statement.
            turns: of the shared batches, shared with other kinds; None for turns of their own.

        """
        self._send_shared = shared
        self._send_queued = queue
        self._account_of = account_of
        self._size = size
        self._shared = Batches[Item, Result](self._several, size, turns=turns)
        self._queues: dict[int, Batches[Item, Result]] = {}

    async def ask(self, item: Item) -> Result | Left:
        """Have an item answered; `LEFT` where not even its account's queue did it."""
        account_id = self._account_of(item)
        queue = self._queues.get(account_id)
        if queue is None:
            response = await self._shared.ask(item)
            if response is not Left.LEFT:
                return response
            queue = self._queue(account_id)
        return await queue.ask(item)

    def _several(
        self, batch: Batch[Item, Result]
    ) -> Coroutine[object, object, None] | HandedOver[Result]:
        """Send a shared batch; one account alone needs none."""
        first = self._account_of(batch[0].item)
        if all(self._account_of(pending.item) == first for pending in batch):
            return self._queue(first).take_over(batch)
        return self._send_shared(batch)

    def _queue(self, account_id: int) -> Batches[Item, Result]:
        queue = self._queues.get(account_id)
        if queue is None:
            queue = self._queues[account_id] = Batches(
                self._send_queued,
                self._size,
                overlap_after_s=None,
                on_idle=partial(self._queues.pop, account_id, None),
            )
        return queue
