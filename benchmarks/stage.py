"""Everything that a run needs: one Postgres, replicas, upstream, clients.

    clients -> replicas -> Tap -> FaultProxy -> RememberingUpstream
                  `-----> FaultProxy (one each) -> Postgres

Everything that was started is ended when the stage is left, whatever happens.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.changes import Changes
from benchmarks.clients import Clients, create_clients
from benchmarks.cohort import create_cohort
from benchmarks.database import Database
from benchmarks.faults import Scene
from benchmarks.objects import Makers
from benchmarks.replicas import Replica, kill_all, start_all
from benchmarks.upstream import RememberingUpstream, Tap
from tests.support.fault_proxy import FaultProxy, database_target, dsn_through, url_target
from tokenbalance.database.connections import open_pool, open_sessions
from tokenbalance.database.migrate import migrate_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

LEASE_S: Final = 6
SWEEP_S: Final = 2
HOLD_WAIT_S: Final = 10
SHUTDOWN_S: Final = 3
REPLICAS: Final = 2
WORKERS: Final = 2


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs."""

    scene: Scene
    upstream: RememberingUpstream
    clients: Clients
    makers: Makers
    changes: Changes

    @property
    def dsn(self) -> str:
        """The database, bypassing the faults."""
        return self.scene.database.dsn


@asynccontextmanager
async def open_stage(folder: Path, seed: int) -> AsyncGenerator[Stage]:
    """Start everything, with data and logs in this folder; end it all on leaving."""
    async with AsyncExitStack() as stack:
        database = Database(folder / "postgres")
        stack.push_async_callback(database.stop)
        await database.start()
        await migrate_in_thread(database.dsn)
        upstream = await stack.enter_async_context(RememberingUpstream())
        before_upstream = await stack.enter_async_context(FaultProxy(url_target(upstream.base_url)))
        tap = await stack.enter_async_context(Tap(upstream, before_upstream))
        before_database = [
            await stack.enter_async_context(FaultProxy(database_target(database.dsn)))
            for _ in range(REPLICAS)
        ]
        replicas = [
            Replica(folder / name, _settings(dsn_through(proxy, database.dsn), tap), WORKERS)
            for name, proxy in zip("ab", before_database, strict=True)
        ]
        stack.push_async_callback(kill_all, replicas)
        await start_all(replicas)
        sessions = await stack.enter_async_context(open_sessions(database.dsn))
        async with open_pool(database.dsn, 2) as pool:
            clients = await create_clients(pool, replicas, seed)
            cohort = await create_cohort(pool, sessions, clients)
        scene = Scene(database, replicas, before_database, before_upstream)
        # A frozen process could not be shut down.
        _ = stack.callback(scene.heal)
        makers = Makers(replicas, clients.holders[: clients.rich], seed)
        yield Stage(scene, upstream, clients, makers, Changes(clients, cohort, sessions, seed))


def _settings(dsn: str, tap: Tap) -> dict[str, str]:
    return {
        "DATABASE_URL": dsn,
        "OPENAI_BASE_URL": tap.base_url,
        "OPENAI_API_KEY": "sk-upstream",
        "TOKENBALANCE_LEASE_S": str(LEASE_S),
        "TOKENBALANCE_SWEEP_S": str(SWEEP_S),
        "TOKENBALANCE_HOLD_WAIT_S": str(HOLD_WAIT_S),
        "TOKENBALANCE_SHUTDOWN_S": str(SHUTDOWN_S),
    }
