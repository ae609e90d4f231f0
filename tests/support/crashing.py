"""Servers that kill themselves, with SIGKILL, at a named point of a request.

    async with Servers(folder) as servers:
        server = await servers.start(settings, Point.USED, hit=2)
        url = await server.ready()
        ...                               # the second request gets as far as that
        assert await server.ended() == KILLED

Each is a process of its own with the unchanged product, except for the one method before or after
which it dies. Importing the product takes longer than everything else here, so one process imports
it once and forks the servers; it gets its orders as lines of JSON. None of this is in the product.
"""

from __future__ import annotations

import asyncio
import enum
import gc
import importlib
import inspect
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import orjson

from tokenbalance.books.holds.journal import Abandoned, Journal, Slot
from tokenbalance.books.holds.leases import Leases
from tokenbalance.books.holds.sweep import Sweep
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.placements import Placements
from tokenbalance.openai.tokens import load
from tokenbalance.owners.journal import ObjectJournal
from tokenbalance.owners.registry import Owners
from tokenbalance.wire.server import run as serving
from tokenbalance.wire.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.support.upstream import ScriptedUpstream

KILLED = -signal.SIGKILL
_LIMIT_S = 30.0


class Moment(enum.Enum):
    """Before or after a call."""

    BEFORE = "before"
    AFTER = "after"


class Point(enum.Enum):
    """Where a server dies. Hits count from the first request on, or from the start in a replay."""

    BEGUN = (Leases, "begin", Moment.AFTER)
    """The request is in the journal; its hold is not placed."""
    PLACED = (Placements, "place", Moment.AFTER)
    """The hold is committed; the process does not know it yet."""
    DISPATCHING = (Slot, "dispatch", Moment.BEFORE)
    """The hold is known; nothing else has happened."""
    DISPATCHED = (Slot, "dispatch", Moment.AFTER)
    """The journal says that the request is about to be sent; the upstream has not read it."""
    HEAD_CAME = (Upstream, "send", Moment.AFTER)
    """The upstream has sent the head of its response."""
    USAGE_SEEN = (Slot, "use", Moment.BEFORE)
    """Only this process knows the usage."""
    USED = (Slot, "use", Moment.AFTER)
    """The usage is in the journal; the settlement was not tried yet."""
    SYNCED = (Journal, "sync", Moment.AFTER)
    """The settlement failed; the journal is flushed to the disk."""
    SETTLED = (Book, "settle", Moment.AFTER)
    """The settlement is committed; nothing else has happened."""
    CLEARING = (Leases, "end", Moment.BEFORE)
    """The end is committed; the journal still shows the request."""
    CLEARED = (Leases, "end", Moment.AFTER)
    """The slot is freed; the client has no response yet."""
    ERROR_SEEN = (Slot, "void", Moment.BEFORE)
    """Only this process knows that nothing was used."""
    VOIDING = (Slot, "void", Moment.AFTER)
    """The journal says that nothing was used; the hold is not voided yet."""
    VOIDED = (Book, "void", Moment.AFTER)
    """The hold is voided; nothing else has happened."""
    REPLAYED = (Sweep, "_end_left", Moment.AFTER)
    """One request in the journal of a dead process has been ended."""
    PUTTING_AWAY = (Abandoned, "done", Moment.BEFORE)
    """All of them have been ended; the file is still there."""

    NOTING = (ObjectJournal, "note", Moment.BEFORE)
    """Only this process knows whose the objects of a response are."""
    NOTED = (ObjectJournal, "note", Moment.AFTER)
    """The journal says whose they are; the table does not have them."""
    OWNED = (Owners, "committed", Moment.AFTER)
    """The table has them; the client has no response yet."""

    @property
    def of_a_replay(self) -> bool:
        """Whether it is reached without a request."""
        return self in {Point.REPLAYED, Point.PUTTING_AWAY}

    @property
    def of_objects(self) -> bool:
        """Whether it is only reached by responses that name objects, charged or not."""
        return self in {Point.NOTING, Point.NOTED, Point.OWNED}


@dataclass(slots=True, eq=False)
class Server:
    """A server, running or dead."""

    pid: int
    _name: str
    _servers: Servers
    _awaited: bool = False

    async def ready(self) -> str:
        """Wait until it serves requests; returns its URL."""
        return await self._servers.message(self._name, "url")

    async def ended(self) -> int:
        """Wait for its end; returns the exit code, negative for a signal."""
        if not self._awaited:
            self._awaited = True
            self._servers.order({"name": self._name, "wait": self.pid})
        return await self._servers.message(self._name, "code")

    async def kill(self) -> None:
        """Kill it with SIGKILL, and wait until it is dead."""
        os.kill(self.pid, signal.SIGKILL)
        assert await self.ended() == KILLED

    async def stop(self) -> int:
        """Send it SIGTERM; returns its exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return await self.ended()

    async def discard(self) -> None:
        """Kill it if it still runs."""
        if not self._servers.has_message(self._name, "code"):
            os.kill(self.pid, signal.SIGKILL)
            await self.ended()


class Servers:
    """Starts servers, and kills those that still run at the end."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder for their logs."""
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._servers: list[Server] = []
        self._messages: dict[tuple[str, str], asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.crashing",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Without the settings of the developer.
            cwd=self._folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._process
        assert self._process.stdin
        assert self._listening
        await self.discard()
        self._process.stdin.close()
        await self._process.wait()
        await self._listening

    async def start(
        self, settings: Mapping[str, str], point: Point | None = None, hit: int = 1
    ) -> Server:
        """Start one.

        Args:
            settings: its environment.
            point: where it dies; None if it does not.
            hit: dies when it gets there for the n-th time.

        """
        name = f"server{len(self._servers)}"
        dies = None if point is None else [point.name, hit]
        self.order({"name": name, "settings": {**settings}, "dies": dies})
        server = Server(await self.message(name, "pid"), name, self)
        self._servers.append(server)
        return server

    async def discard(self) -> None:
        """Kill those that still run."""
        for server in self._servers:
            await server.discard()

    def log(self) -> str:
        """Everything that they have logged."""
        return "".join(path.read_text("utf-8") for path in sorted(self._folder.glob("*.log")))

    def order(self, order: Mapping[str, Any]) -> None:
        """Send an order to the process that forks."""
        assert self._process
        assert self._process.stdin
        self._process.stdin.write(orjson.dumps(order) + b"\n")

    async def message(self, name: str, what: str) -> Any:
        """Wait for a message about a server."""
        assert self._listening
        response = self._respond(name, what)
        waiting = {response, self._listening}
        await asyncio.wait(waiting, timeout=_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
        assert response.done(), f"no {what} of {name} in time:\n{self.log()}"
        return response.result()

    def has_message(self, name: str, what: str) -> bool:
        """Whether that message has arrived."""
        return self._respond(name, what).done()

    async def _listen(self) -> None:
        assert self._process
        assert self._process.stdout
        async for line in self._process.stdout:
            said = orjson.loads(line)
            name = said.pop("name")
            for what, value in said.items():
                self._respond(name, what).set_result(value)

    def _respond(self, name: str, what: str) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        return self._messages.setdefault((name, what), loop.create_future())


def settings_of(dsn: str, upstream: ScriptedUpstream, data_dir: Path) -> dict[str, str]:
    """The environment of a server: its database, its upstream, and its journal's folder."""
    return {
        "DATABASE_URL": dsn,
        "OPENAI_BASE_URL": upstream.base_url,
        "OPENAI_API_KEY": "sk-upstream",
        "TOKENBALANCE_DATA_DIR": str(data_dir),
        "TOKENBALANCE_SWEEP_S": "0.1",
    }


@dataclass(slots=True)
class _Fuse:
    """Counts how often a point is reached, once it is lit."""

    left: int
    burns: bool

    def light(self) -> None:
        self.burns = True

    def reach(self) -> None:
        self.left -= self.burns
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _die_at(point: Point, hit: int) -> None:
    owner, method, moment = point.value
    fuse = _Fuse(hit, burns=point.of_a_replay or point.of_objects)
    _add(owner, method, moment, fuse.reach)
    _add(Leases, "begin", Moment.BEFORE, fuse.light)


def _add(owner: type, method: str, moment: Moment, act: Callable[[], None]) -> None:
    """Run `act` before or after every call of a method."""
    original = getattr(owner, method)
    before = act if moment is Moment.BEFORE else _nothing
    after = act if moment is Moment.AFTER else _nothing

    def call(*arguments: Any, **named: Any) -> Any:
        before()
        result = original(*arguments, **named)
        after()
        return result

    async def call_and_wait(*arguments: Any, **named: Any) -> Any:
        before()
        result = await original(*arguments, **named)
        after()
        return result

    setattr(owner, method, call_and_wait if inspect.iscoroutinefunction(original) else call)


def _nothing() -> None:
    pass


def _say(**words: object) -> None:
    # In one write, because all servers write to the same pipe.
    os.write(sys.stdout.fileno(), orjson.dumps(words) + b"\n")


def _fork(name: str, settings: Mapping[str, str], dies: tuple[str, int] | None) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = _serve(name, settings, dies)
    finally:
        os._exit(code)


def _serve(name: str, settings: Mapping[str, str], dies: tuple[str, int] | None) -> int:
    os.environ.update(settings)
    log = os.open(f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    pipe = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if dies is not None:
        _die_at(Point[dies[0]], dies[1])

    def announce(url: str) -> None:
        os.write(pipe, orjson.dumps({"name": name, "url": url}) + b"\n")

    return serving.run(port=0, log_level="warning", on_ready=announce)


def main() -> None:
    """Fork servers and wait for their ends, by orders on stdin; then kill those that still run."""
    importlib.import_module(serving.APPLICATION.partition(":")[0])
    load()
    # Pages that the garbage collector never writes to stay shared, which makes forks cheap.
    gc.freeze()
    running: set[int] = set()
    for line in sys.stdin:
        order = orjson.loads(line)
        name = order["name"]
        if "wait" in order:
            pid, status = os.waitpid(order["wait"], 0)
            running.remove(pid)
            _say(name=name, code=os.waitstatus_to_exitcode(status))
        else:
            pid = _fork(name, order["settings"], order["dies"])
            running.add(pid)
            _say(name=name, pid=pid)
    for pid in running:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
