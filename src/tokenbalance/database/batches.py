"""Batches: items that many callers submit at the same time, sent as one statement.

    no batch in flight     sent at once, with all items submitted in the same turn of the event loop
    a batch in flight      items gather until it returns, until it has been in flight for
                           OVERLAP_AFTER_S, or until the next batch is full, which then overlaps it
    a cancelled caller     its item is withdrawn if it was not sent yet; a sent batch goes on

Owns when a batch is sent and which caller gets which result. It must never know what a statement
says.
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
"""A batch in flight for longer than this no longer delays the next one."""
BATCH_MAX: Final = 512
"""The most items in one statement."""


class Left(enum.Enum):
    """The result of an item that its batch left undone: the caller falls back to another way."""

    LEFT = enum.auto()


@dataclass(slots=True, eq=False)
class Pending(Generic[Item, Result]):
    """One item of a batch, and the future of its result."""

    item: Item
    result: asyncio.Future[Result | Left]

    @property
    def is_done(self) -> bool:
        """Whether nobody waits for it any more: it has a result, or its caller was cancelled."""
        return self.result.done()

    def resolve(self, result: Result | Left) -> None:
        """Set the result, unless nobody waits for it."""
        if not self.result.done():
            self.result.set_result(result)

    def fail(self, error: Exception) -> None:
        """Set an error as the result. Items may share it: a future resets its traceback."""
        if not self.result.done():
            self.result.set_exception(error)


Batch: TypeAlias = "list[Pending[Item, Result]]"
HandedOver: TypeAlias = "asyncio.Future[Result | Left]"
Send: TypeAlias = (
    "Callable[[Batch[Item, Result]], Coroutine[object, object, None] | HandedOver[Result]]"
)


class Turns:
    """Lets one batch at a time be in flight, over all kinds that share this; the others gather.

    Without it, three kinds of batches would send three times as many, each a third of the size.
    """

    def __init__(self) -> None:
        self.began_at: float = 0.0
        """When the last batch was sent, on the event loop's clock."""
        self._in_flight: int = 0
        self._next: deque[Callable[[], None]] = deque()

    @property
    def are_taken(self) -> bool:
        """Whether a batch is in flight."""
        return self._in_flight > 0

    def take(self, now: float) -> None:
        """Count a batch as in flight, whether it was its turn or it overlaps another one."""
        self._in_flight += 1
        self.began_at = now

    def wait(self, begin: Callable[[], None]) -> None:
        """Call `begin` when it is its turn; each `begin` is queued at most once."""
        if begin not in self._next:
            self._next.append(begin)

    def give_back(self) -> None:
        """Count a batch as returned; the next kind in the queue that has items begins."""
        self._in_flight -= 1
        while self._next and not self.are_taken:
            self._next.popleft()()


class Batches(Generic[Item, Result]):
    """Sends the items of one kind together, in order of arrival."""

    def __init__(
        self,
        send: Send[Item, Result],
        size: int = BATCH_MAX,
        *,
        turns: Turns | None = None,
        overlap_after_s: float | None = OVERLAP_AFTER_S,
        on_idle: Callable[[], object] | None = None,
    ) -> None:
        """Create an empty queue of items.

        Args:
            send: resolves the items of a batch. What it does not resolve becomes `LEFT`, and an
                error that it raises becomes the result of all those. It may instead hand the batch
                over to another queue and return the future that `take_over` returns.
            size: the most items of a batch.
            turns: shared with other kinds; None for turns of its own.
            overlap_after_s: how long a batch in flight delays the next one; None for as long as it
                takes. In that case a TimeoutError also fails the items queued behind the batch:
                they have waited for the same thing.
            on_idle: called when no batch is in flight and no item is queued.

        """
        self._send = send
        self._size = size
        self._overlap_after_s = overlap_after_s
        self._on_idle = on_idle
        self._queue: Batch[Item, Result] = []
        self._in_flight: set[asyncio.Future[None] | HandedOver[Result]] = set()
        self._turns = turns or Turns()
        self._due: asyncio.Handle | None = None
        # Asking for it takes a system call, each time.
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, item: Item) -> asyncio.Future[Result | Left]:
        """Queue an item; cancelling the future withdraws the item if it was not sent yet."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        result: asyncio.Future[Result | Left] = loop.create_future()
        self._queue.append(Pending(item, result))
        if self._due is None or len(self._queue) == self._size:
            self._schedule(loop)
        return result

    def take_over(self, batch: Batch[Item, Result]) -> HandedOver[Result]:
        """Queue a batch gathered elsewhere; the returned future is done when it is back."""
        self._queue += batch
        if self._due is None:
            self._schedule(asyncio.get_running_loop())
        return batch[-1].result

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make sure that queued items are sent, with at most one handle; none while idle."""
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
        """Begin, unless another kind took the turn first."""
        if self._turns.are_taken:
            self._schedule(asyncio.get_running_loop())
        else:
            self._begin()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        if self._due is not None:
            self._due.cancel()
            self._due = None
        wanted = [pending for pending in self._queue if not pending.is_done]
        batch, self._queue = wanted[: self._size], wanted[self._size :]
        if batch:
            work = self._send(batch)
            in_flight = (
                work
                if isinstance(work, asyncio.Future)
                else loop.create_task(self._carry_out(batch, work))
            )
            self._turns.take(loop.time())
            self._in_flight.add(in_flight)
            in_flight.add_done_callback(self._returned)
        if self._queue:
            self._schedule(loop)
        else:
            self._report_if_idle()

    def _report_if_idle(self) -> None:
        if not self._in_flight and self._on_idle is not None:
            _ = self._on_idle()

    async def _carry_out(
        self, batch: Batch[Item, Result], work: Coroutine[object, object, None]
    ) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - it is raised in the callers
            fails_queue = isinstance(error, TimeoutError) and self._overlap_after_s is None
            for pending in [*batch, *self._queue] if fails_queue else batch:
                pending.fail(error)
        except asyncio.CancelledError:
            for pending in batch:
                _ = pending.result.cancel()
            raise
        else:
            for pending in batch:
                pending.resolve(Left.LEFT)

    def _returned(self, in_flight: asyncio.Future[None] | HandedOver[Result]) -> None:
        self._in_flight.discard(in_flight)
        # The callers that just got a result have run before this, and may have submitted more.
        self._turns.give_back()
        if not self._queue:
            self._report_if_idle()
