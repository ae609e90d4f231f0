"""Batches: what many ask of the database at the same time, sent as one statement.

    nothing under way      sent at once, with all that is asked in the same turn of the loop
    a batch under way      gathered until it is back, until it has been under way for
                           OVERLAP_AFTER_S, or until the next one is full: then that overlaps it
    the asker is gone      withdrawn if it was not sent yet; what was sent goes on

Owns when something is sent and who gets which answer. It must never know what a statement says.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Item = TypeVar("Item")
Result = TypeVar("Result")

OVERLAP_AFTER_S: Final = 0.02
"""After this a batch under way no longer keeps the next one waiting."""
BATCH_MAX: Final = 512
"""Items at most of a statement."""


class Left(enum.Enum):
    """The answer to what a batch did not do: it is to be asked for in another way."""

    LEFT = enum.auto()


@dataclass(slots=True, eq=False)
class Pending(Generic[Item, Result]):
    """One item of a batch, and who waits for its answer."""

    item: Item
    reply: asyncio.Future[Result | Left]

    @property
    def is_settled(self) -> bool:
        """Whether nobody waits any more: it was answered, or its asker is gone."""
        return self.reply.done()

    def resolve(self, result: Result | Left) -> None:
        """Give the answer, unless nobody waits for it."""
        if not self.reply.done():
            self.reply.set_result(result)

    def fail(self, error: Exception) -> None:
        """Give an error instead. Many may share it: a future resets its traceback."""
        if not self.reply.done():
            self.reply.set_exception(error)


Batch: TypeAlias = "list[Pending[Item, Result]]"
HandedOver: TypeAlias = "asyncio.Future[Result | Left]"
Send: TypeAlias = (
    "Callable[[Batch[Item, Result]], Coroutine[object, object, None] | HandedOver[Result]]"
)


class Turns:
    """One batch after the other, of all kinds that share this: meanwhile the others gather.

    Three kinds that send a batch each whenever they can send three times as many, of a third each.
    """

    def __init__(self) -> None:
        self.began_at: float = 0.0
        """When the last batch was sent, on the loop's clock."""
        self._under_way: int = 0
        self._next: deque[Callable[[], None]] = deque()

    @property
    def are_taken(self) -> bool:
        """Whether a batch is under way."""
        return self._under_way > 0

    def take(self, now: float) -> None:
        """Send a batch, in turn or beside the one whose turn it is."""
        self._under_way += 1
        self.began_at = now

    def wait(self, begin: Callable[[], None]) -> None:
        """Be called when it is one's turn; one place in the line each."""
        if begin not in self._next:
            self._next.append(begin)

    def give_back(self) -> None:
        """End a batch; the next in line begins, or whoever comes after it if it has nothing."""
        self._under_way -= 1
        while self._next and not self.are_taken:
            self._next.popleft()()


class Batches(Generic[Item, Result]):
    """Sends what is asked for together, in order of arrival."""

    def __init__(
        self,
        send: Send[Item, Result],
        size: int = BATCH_MAX,
        *,
        turns: Turns | None = None,
        overlap_after_s: float | None = OVERLAP_AFTER_S,
        on_idle: Callable[[], object] | None = None,
    ) -> None:
        """Send nothing yet.

        Args:
            send: answers a batch; what it leaves unanswered is `LEFT`, and what it raises is the
                answer to all of that. Or it hands the batch over, and gives what that gives.
            size: items at most of a batch.
            turns: shared with other kinds; None for turns of its own.
            overlap_after_s: how long a batch keeps the next one waiting; None for as long as it
                takes. Then the TimeoutError of one is the answer to all behind it as well, who have
                waited for the same.
            on_idle: called when nothing is under way and nothing waits.

        """
        self._send = send
        self._size = size
        self._overlap_after_s = overlap_after_s
        self._on_idle = on_idle
        self._queue: Batch[Item, Result] = []
        self._under_way: set[asyncio.Future[None] | HandedOver[Result]] = set()
        self._turns = turns or Turns()
        self._due: asyncio.Handle | None = None

    def ask(self, item: Item) -> asyncio.Future[Result | Left]:
        """Have an item sent; cancelling the future withdraws it if it still can be."""
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Result | Left] = loop.create_future()
        self._queue.append(Pending(item, reply))
        if self._due is None or len(self._queue) == self._size:
            self._schedule(loop)
        return reply

    def take_over(self, batch: Batch[Item, Result]) -> HandedOver[Result]:
        """Have a batch sent that others have gathered; gives what is done when it is back."""
        self._queue += batch
        if self._due is None:
            self._schedule(asyncio.get_running_loop())
        return batch[-1].reply

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that what is queued is sent; one handle at most, none where nothing waits."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        is_full = self._overlap_after_s is not None and len(self._queue) >= self._size
        if is_full:
            self._due = loop.call_soon(self._begin)
        elif not self._turns.are_taken:
            self._due = loop.call_soon(self._begin_in_turn)
        else:
            self._turns.wait(self._begin)
            if self._overlap_after_s is not None:
                self._due = loop.call_at(self._turns.began_at + self._overlap_after_s, self._begin)

    def _begin_in_turn(self) -> None:
        """Begin, unless another kind was faster."""
        if self._turns.are_taken:
            self._schedule(asyncio.get_running_loop())
        else:
            self._begin()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        if self._due is not None:
            self._due.cancel()
            self._due = None
        waiting = [pending for pending in self._queue if not pending.is_settled]
        batch, self._queue = waiting[: self._size], waiting[self._size :]
        if batch:
            work = self._send(batch)
            under_way = (
                work
                if isinstance(work, asyncio.Future)
                else loop.create_task(self._carry_out(batch, work))
            )
            self._turns.take(loop.time())
            self._under_way.add(under_way)
            under_way.add_done_callback(self._ended)
        if self._queue:
            self._schedule(loop)
        else:
            self._rest()

    def _rest(self) -> None:
        if not self._under_way and self._on_idle is not None:
            _ = self._on_idle()

    async def _carry_out(
        self, batch: Batch[Item, Result], work: Coroutine[object, object, None]
    ) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - it is raised to whoever asked
            behind = isinstance(error, TimeoutError) and self._overlap_after_s is None
            for pending in [*batch, *self._queue] if behind else batch:
                pending.fail(error)
        except asyncio.CancelledError:
            for pending in batch:
                _ = pending.reply.cancel()
            raise
        else:
            for pending in batch:
                pending.resolve(Left.LEFT)

    def _ended(self, under_way: asyncio.Future[None] | HandedOver[Result]) -> None:
        self._under_way.discard(under_way)
        # Those who were just answered have run before this, and may have asked for more.
        self._turns.give_back()
        if not self._queue:
            self._rest()
