"""The faults of a chaos run: what strikes, in which order, for how long, and how it is healed.

The order and the times follow from the seed alone. Each fault is healed by itself, and replicas
come back as a service manager would bring them back.
"""

from __future__ import annotations

import asyncio
import random
import signal
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg

from benchmarks.processes import send

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from benchmarks.clients import Received
    from benchmarks.database import Database
    from benchmarks.replicas import Replica
    from tests.support.fault_proxy import FaultProxy

    Strike: TypeAlias = Callable[["Scene", int], Awaitable[None]]

EVERY_S: Final = 10.0
FIRST_S: Final = 2.0
_SHORT: Final = (2.0, 8.0)
_BEYOND_A_LEASE: Final = (7.2, 8.0)
_LATENCY_S: Final = 0.25
_PIECE_BYTES: Final = 7
_COLUMNS: Final = (("200", 200), ("402", 402), ("503", 503), ("502", 502), ("none", None))


@dataclass(slots=True)
class Scene:
    """What faults may strike."""

    database: Database
    replicas: list[Replica]
    databases: list[FaultProxy]
    """Before the database, one for each replica."""
    upstream: FaultProxy
    exit_codes: list[int] = field(default_factory=list)
    """Of replicas that were asked to shut down."""
    frozen: list[int] = field(default_factory=list)
    _busy: list[asyncio.Lock] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._busy = [asyncio.Lock() for _ in self.replicas]

    def busy(self, replica: int) -> asyncio.Lock:
        """Keep two faults from starting and ending one replica at the same time."""
        return self._busy[replica]

    def heal(self) -> None:
        """End every fault, except that processes of a replica are missing."""
        for proxy in (*self.databases, self.upstream):
            proxy.heal()
        self.database.thaw()
        send(signal.SIGCONT, self.frozen)


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault."""

    name: str
    strike: Strike
    heal: Strike
    lasting_s: tuple[float, float] = _SHORT


@dataclass(slots=True)
class Struck:
    """One fault at its time."""

    fault: Fault
    replica: int
    at_s: float
    lasting_s: float
    ended_at: float = 0.0
    """On the event loop's clock; when everything was up again."""

    @property
    def name(self) -> str:
        """What, and where if that makes a difference."""
        return self.fault.name.format("AB"[self.replica])


async def _nothing(_scene: Scene, _replica: int) -> None:
    pass


def _of_databases(name: str, strike: Callable[[FaultProxy], None], *lasting_s: float) -> Fault:
    async def begin(scene: Scene, replica: int) -> None:
        strike(scene.databases[replica])

    async def end(scene: Scene, replica: int) -> None:
        scene.databases[replica].heal()

    return Fault(name, begin, end, (lasting_s[0], lasting_s[1]) if lasting_s else _SHORT)


def _of_upstream(name: str, strike: Callable[[FaultProxy], None]) -> Fault:
    async def begin(scene: Scene, _replica: int) -> None:
        strike(scene.upstream)

    async def end(scene: Scene, _replica: int) -> None:
        scene.upstream.heal()

    return Fault(name, begin, end)


async def _silence_for_all(scene: Scene, _replica: int) -> None:
    for proxy in scene.databases:
        proxy.black_hole()


async def _hear_all(scene: Scene, _replica: int) -> None:
    for proxy in scene.databases:
        proxy.heal()


async def _freeze_postgres(scene: Scene, _replica: int) -> None:
    scene.database.freeze()


async def _thaw_postgres(scene: Scene, _replica: int) -> None:
    scene.database.thaw()


async def _restart_postgres(scene: Scene, _replica: int) -> None:
    await scene.database.restart()


async def _end_sessions(scene: Scene, _replica: int) -> None:
    connection = await asyncpg.connect(scene.database.dsn)
    try:
        _ = await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()


async def _kill_worker(scene: Scene, replica: int) -> None:
    send(signal.SIGKILL, scene.replicas[replica].worker_pids()[:1])


async def _freeze_worker(scene: Scene, replica: int) -> None:
    scene.frozen[:] = scene.replicas[replica].worker_pids()[:1]
    send(signal.SIGSTOP, scene.frozen)


async def _thaw_worker(scene: Scene, _replica: int) -> None:
    send(signal.SIGCONT, scene.frozen)
    scene.frozen.clear()


async def _kill_replica(scene: Scene, replica: int) -> None:
    await scene.replicas[replica].kill()


async def _end_replica(scene: Scene, replica: int) -> None:
    scene.exit_codes.append(await scene.replicas[replica].stop())


async def _start_replica(scene: Scene, replica: int) -> None:
    await scene.replicas[replica].start()


_DECK: Final = (
    _of_databases("database of {} is slow", lambda proxy: proxy.delay(_LATENCY_S)),
    _of_databases("database of {} is cut off", lambda proxy: proxy.cut()),
    _of_databases("database of {} resets", lambda proxy: proxy.reset()),
    _of_databases("database of {} is silent", lambda proxy: proxy.black_hole(), *_BEYOND_A_LEASE),
    _of_databases("database of {} loses responses", lambda proxy: proxy.drop_responses()),
    Fault("database is silent for both", _silence_for_all, _hear_all, _BEYOND_A_LEASE),
    Fault("Postgres is frozen", _freeze_postgres, _thaw_postgres),
    Fault("Postgres is restarted", _restart_postgres, _nothing),
    Fault("all sessions are ended", _end_sessions, _nothing),
    _of_upstream("upstream is cut off", lambda proxy: proxy.cut()),
    _of_upstream("upstream resets", lambda proxy: proxy.reset()),
    _of_upstream("upstream is silent", lambda proxy: proxy.black_hole()),
    _of_upstream("upstream comes in pieces", lambda proxy: proxy.slice(_PIECE_BYTES)),
    Fault("a worker of {} is killed", _kill_worker, _nothing),
    Fault("replica {} is killed", _kill_replica, _start_replica),
    Fault("replica {} is ended", _end_replica, _start_replica),
    Fault("a worker of {} is frozen", _freeze_worker, _thaw_worker, _BEYOND_A_LEASE),
    _of_databases("database of {} is silent again", lambda proxy: proxy.black_hole(), 2.0, 4.0),
)


def schedule(seed: int, lasting_s: float) -> list[Struck]:
    """Return what strikes when; every fault once before any is repeated."""
    chance = random.Random(f"{seed} faults")
    faults = _shuffled_forever(chance)
    struck: list[Struck] = []
    at_s = FIRST_S
    # The last one is over before the load is.
    while at_s + _BEYOND_A_LEASE[1] <= lasting_s:
        fault = next(faults)
        struck.append(Struck(fault, chance.randrange(2), at_s, chance.uniform(*fault.lasting_s)))
        at_s += EVERY_S
    return struck


def _shuffled_forever(chance: random.Random) -> Iterator[Fault]:
    while True:
        yield from chance.sample(_DECK, len(_DECK))


async def strike_all(scene: Scene, struck: list[Struck]) -> None:
    """Let each fault strike at its time, and end by itself."""
    began = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as tasks:
        for each in struck:
            _ = tasks.create_task(_strike_at(scene, each, began))


async def _strike_at(scene: Scene, struck: Struck, began: float) -> None:
    clock = asyncio.get_running_loop().time
    await asyncio.sleep(began + struck.at_s - clock())
    async with scene.busy(struck.replica):
        await struck.fault.strike(scene, struck.replica)
        await asyncio.sleep(struck.lasting_s)
        await struck.fault.heal(scene, struck.replica)
        struck.ended_at = clock()


def fault_table(struck: list[Struck], received: list[Received], began: float) -> list[str]:
    """Return a table: requests sent during each fault, and when the next one succeeded.

    Args:
        struck: the faults, healed.
        received: what clients received.
        began: when the load did, on the event loop's clock.

    """
    names = ("at", "lasted", *(name for name, _ in _COLUMNS), "next 200")
    head = " ".join(f"{name:>8}" for name in names)
    return [f"{head}  fault", *(_fault_line(each, received, began + each.at_s) for each in struck)]


def _fault_line(struck: Struck, received: list[Received], start: float) -> str:
    meanwhile = [each for each in received if start <= each.began < struck.ended_at]
    counts = [
        sum(each.status == status and not each.hung_up for each in meanwhile)
        for _, status in _COLUMNS
    ]
    after = (
        each.ended - struck.ended_at
        for each in received
        if each.status == HTTPStatus.OK and each.began >= struck.ended_at
    )
    numbers = " ".join(f"{count:8}" for count in counts)
    lasted_s, next_s = struck.ended_at - start, min(after, default=0.0)
    return f"{struck.at_s:7.0f}s {lasted_s:7.1f}s {numbers} {next_s:7.1f}s  {struck.name}"
