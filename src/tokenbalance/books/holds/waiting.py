"""Waiting for a hold: requests that fit but for the open holds of their own account, in order.

The order is that of the table `waiters`, over all processes: `PLACE` leaves to those in front what
they wait for. Here are the waiters of this process. The first of an account tries again whenever
credits of it are released here, and when the look into the books, every POLL_S, finds it worth a
try: that is how a hold that ended elsewhere, or a top-up, is noticed.

A waiter holds no connection. Whoever leaves, for whichever reason, takes its row along; the row of
a process that died counts for ALIVE_S and no longer.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from tokenbalance.database import statements
from tokenbalance.database.connections import UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from tokenbalance.books.ledger.book import Book
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Claim, Hold

Attempt: TypeAlias = "Callable[[int], Awaitable[Hold | None]]"

logger = logging.getLogger(__name__)

POLL_S: Final = 0.1
STAY_S: Final = 1.0
ALIVE_S: Final = 5.0
SILENCE_S: Final = 2.0
"""How long the database may be away before waiters are told."""
WAITERS_MAX: Final = 1000
"""Of one account in one process."""
_POLLED_OF_AN_ACCOUNT: Final = 8
"""Who is further back is woken by the one in front."""


@dataclass(slots=True, eq=False)
class _Waiter:
    account_id: int
    position: int
    claim: Claim
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Waiters:
    """The requests of this process that wait, first come first served."""

    def __init__(self, pool: Pool, book: Book) -> None:
        self._pool = pool
        self._book = book
        self._lines: dict[int, list[_Waiter]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._polling: asyncio.Task[None] | None = None
        book.on_release = self._wake

    def __len__(self) -> int:
        return sum(len(line) for line in self._lines.values())

    async def place(
        self, account_id: int, claim: Claim, attempt: Attempt, wait_s: float
    ) -> Hold | None:
        """Place a hold when it is this request's turn and it fits.

        Args:
            account_id: whose open holds are waited for.
            claim: how much.
            attempt: places the hold, if it fits, from this position among the waiters.
            wait_s: how long it may take, in seconds.

        Returns:
            The hold; None when it can never fit, when the time is up, or too many wait already.

        """
        if len(self._lines.get(account_id, ())) >= WAITERS_MAX:
            return None
        deadline = asyncio.get_running_loop().time() + wait_s
        waiter = await self._enter(account_id, claim)
        try:
            # Many may have come while the row was written.
            if len(self._lines[waiter.account_id]) > WAITERS_MAX:
                return None
            if self._lines[waiter.account_id][0] is waiter:
                waiter.woken.set()
            timely = True
            while timely:
                timely = await _is_woken(waiter, deadline)
                hold = await attempt(waiter.position)
                if hold is not None:
                    return hold
                if (await self._book.funds(account_id)).limit < claim.minimum:
                    return None
            return None
        finally:
            self._leave(waiter)

    async def close(self) -> None:
        """Stop looking, and finish what was begun."""
        if self._polling is not None:
            _ = self._polling.cancel()
        _ = await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _enter(self, account_id: int, claim: Claim) -> _Waiter:
        entered = cast(
            "int", await self._pool.fetchval(statements.ENTER, account_id, claim.wanted, ALIVE_S)
        )
        waiter = _Waiter(account_id, entered, claim)
        insort(self._lines.setdefault(account_id, []), waiter, key=lambda other: other.position)
        if self._polling is None:
            self._polling = self._start(self._poll())
        return waiter

    def _leave(self, waiter: _Waiter) -> None:
        line = self._lines[waiter.account_id]
        line.remove(waiter)
        if not line:
            del self._lines[waiter.account_id]
        # In a task of its own, for the request may have been cancelled.
        _ = self._start(self._take_row_away(waiter))

    async def _take_row_away(self, waiter: _Waiter) -> None:
        try:
            await self._pool.execute(statements.LEAVE, waiter.account_id, waiter.position)
        except UNAVAILABLE as error:
            logger.debug("a waiter's row stays until it lapses: %s", type(error).__name__)
        finally:
            self._wake(waiter.account_id)

    def _wake(self, account_id: int) -> None:
        line = self._lines.get(account_id)
        if line:
            line[0].woken.set()

    async def _poll(self) -> None:
        clock = asyncio.get_running_loop().time
        stay_at = 0.0
        responded_at = clock()
        while self._lines:
            try:
                if clock() >= stay_at:
                    await self._stay()
                    stay_at = clock() + STAY_S
                await self._wake_promising()
                responded_at = clock()
            except UNAVAILABLE as error:
                logger.debug("waiters cannot look now: %s", type(error).__name__)
                if clock() - responded_at >= SILENCE_S:
                    self._wake_all()
            except Exception:
                logger.exception("waiters cannot look")
            await asyncio.sleep(POLL_S)
        self._polling = None

    def _wake_all(self) -> None:
        """Let everybody find out that the database is away, instead of waiting for nothing."""
        for line in self._lines.values():
            for waiter in line:
                waiter.woken.set()

    async def _stay(self) -> None:
        waiters = [waiter for line in self._lines.values() for waiter in line]
        await self._pool.execute(
            statements.RENEW_WAITERS,
            [waiter.account_id for waiter in waiters],
            [waiter.position for waiter in waiters],
            ALIVE_S,
        )

    async def _wake_promising(self) -> None:
        waiters = {
            waiter.position: waiter
            for line in self._lines.values()
            for waiter in line[:_POLLED_OF_AN_ACCOUNT]
        }
        rows = await self._pool.fetch(
            statements.PROMISING,
            [waiter.account_id for waiter in waiters.values()],
            list(waiters),
            [waiter.claim.wanted for waiter in waiters.values()],
            [waiter.claim.minimum for waiter in waiters.values()],
        )
        for row in rows:
            waiters[cast("int", row[0])].woken.set()

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _is_woken(waiter: _Waiter, deadline: float) -> bool:
    """Wait for a reason to try; False when the time is up, and so for the last time."""
    try:
        async with asyncio.timeout_at(deadline):
            _ = await waiter.woken.wait()
    except TimeoutError:
        return False
    waiter.woken.clear()
    return True
