"""The connections of a pool: opened when needed, lent to one borrower at a time, closed when old.

    free       the one that was given back last is lent first, so that those of a busy time expire
               together
    lent       until it is given back; it goes to whoever has waited longest, else it is free
    dropped    closed at once: when it is given back, or found free, and is lost, in a transaction,
               expired, or has run USES_MAX statements; or when it was free for too long

Lending and taking back wait for nothing where a connection is free, and start no task: with
asyncpg's own pool that takes three times as long as the statement in between. It must never run a
statement, nor know any deadline; its callers set those.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokenbalance.database.connections.hosts import Connection

USES_MAX: Final = 50_000
"""The memory of a server process grows with the statements that it has run."""


class Lender:
    """Lends connections, at most so many at a time."""

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], size: int, idle_s: float
    ) -> None:
        """Take what opens a connection, the most that are open, and how long one may be free."""
        self._connect = connect
        self._size = size
        self._idle_s = idle_s
        self._places = size
        """How many more may be opened."""
        self._open: set[Connection] = set()
        self._free: list[Connection] = []
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        """Each gets a connection, or a place: the right to open one."""
        self._generation = 0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._is_closing = False
        self._all_closed = asyncio.Event()

    @property
    def open_connections(self) -> tuple[Connection, ...]:
        """Those that are open now, lent or not."""
        return tuple(self._open)

    async def borrow(self) -> Connection:
        """Borrow a connection, which must be given back.

        Raises:
            asyncpg.InterfaceError: all are being closed.
            OSError, asyncpg.PostgresError: none is free, and none can be opened.

        """
        if self._is_closing:
            raise _closed()
        free = self._take_free()
        if free is not None:
            return free
        if self._places:
            self._places -= 1
        else:
            given = await self._wait()
            if given is not None:
                return given
        return await self._open_one()

    def give_back(self, connection: Connection) -> None:
        """Take a connection back, and close it if it must not be lent again."""
        connection.uses += 1
        if not self._is_lendable(connection) or connection.is_in_transaction():
            self.drop(connection)
            return
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(connection)
            return
        loop = asyncio.get_running_loop()
        connection.free_since_s = loop.time()
        self._free.append(connection)
        if self._idle_timer is None:
            self._idle_timer = loop.call_later(self._idle_s, self._drop_idle)

    def drop(self, connection: Connection) -> None:
        """Close a connection, which is not free, at once."""
        connection.terminate()
        self._open.discard(connection)
        self._return_place()

    def expire(self) -> None:
        """Lend none of those again that are open now, and close those that are free."""
        self._generation += 1
        while self._free:
            self.drop(self._free.pop())

    async def close(self) -> None:
        """Close all; those that are lent when they are given back, or now if this is cancelled."""
        self._is_closing = True
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        while (waiter := self._next_waiter()) is not None:
            waiter.set_exception(_closed())
        while self._free:
            self.drop(self._free.pop())
        try:
            if self._places < self._size:
                _ = await self._all_closed.wait()
        finally:
            for connection in self._open:
                connection.terminate()

    def _is_lendable(self, connection: Connection) -> bool:
        return (
            connection.generation == self._generation
            and connection.uses < USES_MAX
            and not self._is_closing
            and not connection.is_closed()
        )

    def _take_free(self) -> Connection | None:
        while self._free:
            connection = self._free.pop()
            if self._is_lendable(connection):
                return connection
            self.drop(connection)
        return None

    async def _wait(self) -> Connection | None:
        """Wait for a connection, or for a place (None)."""
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            given = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._pass_on(waiter.result())
            raise
        if given is None or self._is_lendable(given):
            return given
        # It was lost, or expired, in this very moment: its place stays with whoever waited for it.
        given.terminate()
        self._open.discard(given)
        return None

    def _pass_on(self, given: Connection | None) -> None:
        if given is None:
            self._return_place()
        else:
            self.give_back(given)

    async def _open_one(self) -> Connection:
        """Open a connection, in a place that was taken for it."""
        generation = self._generation
        try:
            connection = await self._connect()
        except BaseException:
            self._return_place()
            raise
        connection.generation = generation
        self._open.add(connection)
        if self._is_closing:
            self.drop(connection)
            raise _closed()
        return connection

    def _return_place(self) -> None:
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(None)
            return
        self._places += 1
        if self._places == self._size:
            self._all_closed.set()

    def _next_waiter(self) -> asyncio.Future[Connection | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _drop_idle(self) -> None:
        self._idle_timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        # The one that has been free the longest comes first.
        fresh = [one for one in self._free if one.free_since_s + self._idle_s > now]
        old = self._free[: len(self._free) - len(fresh)]
        self._free = fresh
        for connection in old:
            self.drop(connection)
        if fresh:
            self._idle_timer = loop.call_at(fresh[0].free_since_s + self._idle_s, self._drop_idle)


def _closed() -> asyncpg.InterfaceError:
    return asyncpg.InterfaceError("pool is closing")
