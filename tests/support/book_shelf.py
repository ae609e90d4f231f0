"""The database that random histories of the books share."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypeVar

from tests.support import postgres
from tokenbalance.database.connections import open_pool, open_sessions

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.postgres import EmbeddedPostgres


T = TypeVar("T")


class Shelf:
    """The database that histories share, each on accounts of its own, until one of them fails."""

    def __init__(self, runner: asyncio.Runner, cluster: EmbeddedPostgres, template: str) -> None:
        self._runner = runner
        self._cluster = cluster
        self._template = template
        self._dsn = ""
        self._connections = AsyncExitStack()
        self.is_sound = False

    def run(self, act: Coroutine[object, object, T]) -> T:
        return self._runner.run(act)

    def open(self) -> tuple[Pool, Sessions]:
        if not self.is_sound:
            self.close()
            self.run(self._open())
            self.is_sound = True
        return self._pool, self._sessions

    def close(self) -> None:
        if self._dsn:
            self.run(self._connections.aclose())
            self.run(postgres.drop(self._cluster, self._dsn))
            self._dsn = ""

    async def _open(self) -> None:
        self._dsn = await postgres.clone(self._cluster, self._template)
        self._pool = await self._connections.enter_async_context(open_pool(self._dsn, size=4))
        self._sessions = await self._connections.enter_async_context(open_sessions(self._dsn))
