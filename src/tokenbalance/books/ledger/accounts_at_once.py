"""Many accounts in one statement, and a line for each that has to be waited for.

    crowd   items of many accounts, in one statement that waits for nobody's lock; what belongs to
            an account that is locked, or needs a closer look, is left
    line    the items of one account, one statement after another, each of which may wait

While an account has a line, who asks for it joins the line: so a locked account keeps one
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
Answer = TypeVar("Answer")

Work: TypeAlias = "Callable[[Batch[Item, Answer]], Coroutine[object, object, None]]"


class AccountsAtOnce(Generic[Item, Answer]):
    """Asks for items of many accounts; who asks need not know how it went there."""

    def __init__(
        self,
        crowd: Work[Item, Answer],
        line: Work[Item, Answer],
        account_of: Callable[[Item], int],
        size: int = BATCH_MAX,
        *,
        turns: Turns | None = None,
    ) -> None:
        """Ask nothing yet.

        Args:
            crowd: answers what it can of a batch of several accounts, and never waits for a lock.
            line: answers all of a batch of one account.
            account_of: whose an item is.
            size: items at most of a statement.
            turns: of the crowds, shared with other kinds; None for turns of their own.

        """
        self._send_crowd = crowd
        self._send_line = line
        self._account_of = account_of
        self._size = size
        self._crowd = Batches[Item, Answer](self._several, size, turns=turns)
        self._lines: dict[int, Batches[Item, Answer]] = {}

    async def ask(self, item: Item) -> Answer | Left:
        """Have an item answered; `LEFT` where not even its account's line did it."""
        account_id = self._account_of(item)
        line = self._lines.get(account_id)
        if line is None:
            answer = await self._crowd.ask(item)
            if answer is not Left.LEFT:
                return answer
            line = self._line(account_id)
        return await line.ask(item)

    def _several(
        self, batch: Batch[Item, Answer]
    ) -> Coroutine[object, object, None] | HandedOver[Answer]:
        """Send a crowd; one account alone is none."""
        first = self._account_of(batch[0].item)
        if all(self._account_of(asked.item) == first for asked in batch):
            return self._line(first).take_over(batch)
        return self._send_crowd(batch)

    def _line(self, account_id: int) -> Batches[Item, Answer]:
        line = self._lines.get(account_id)
        if line is None:
            line = self._lines[account_id] = Batches(
                self._send_line,
                self._size,
                beside_s=None,
                on_idle=partial(self._lines.pop, account_id, None),
            )
        return line
