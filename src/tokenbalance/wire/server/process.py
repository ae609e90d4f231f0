"""The process that serves: its socket, its signals, its workers, and the one line when ready.

This file owns how uvicorn is set up and ended; `http_protocol.py` owns what passes for a request.
It must never know what is served: the application is named by an import string, because every
worker imports it anew, and everything that needs an owner (the pools, the sweeper) is opened by
the application's lifespan.

The socket listens before the application is loaded. A taken port is thus known at once, and who
connects early waits for the answer instead of being refused.

How it ends, on SIGTERM or SIGINT, in every worker at the same time:

    at once            `STOPPING` is set for whoever asks; connections are refused, idle ones closed
    up to shutdown_s   running requests go on to their end
    then, CUT_S        what still runs is cancelled, once, and may end its answer and its hold
    then, CLOSE_S      the application's lifespan closes what requests use; never earlier

Connections are refused, not accepted until the end: a refusal is the one failure that every load
balancer and SDK may try elsewhere, since nothing was sent. What was accepted late would be cut. A
second SIGINT ends the waiting for requests and cuts them at once; nothing else is skipped. A second
SIGTERM changes nothing: several processes may hear of the same stop in more than one way.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import math
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import uvicorn
from typing_extensions import override
from uvicorn.config import STARTUP_FAILURE
from uvicorn.lifespan.on import LifespanOn
from uvicorn.server import HANDLED_SIGNALS
from uvicorn.supervisors.multiprocess import SIGNALS, Multiprocess, Process

from tokenbalance.wire.server.protocol import HardenedProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager

    from uvicorn._types import (
        ASGI3Application,
        ASGIApplication,
        ASGIReceiveCallable,
        ASGISendCallable,
        LifespanScope,
    )
    from uvicorn.lifespan.on import LifespanSendMessage

APPLICATION = "tokenbalance.app:create_app_from_environment"

BACKLOG = 2048
# Longer than the 60 seconds after which most load balancers drop an idle connection, so that it is
# never we who close one that a request is just being sent on.
KEEP_ALIVE_S = 75
SHUTDOWN_S = 25.0
# Longer than ending a hold and writing an event take, and no longer than a client that does not
# read is worth.
CUT_S = 3.0
CLOSE_S = 5.0
DRAIN_POLL_S = 0.05
# The key in the lifespan's state, and so in the state of every request's scope, of an
# `asyncio.Event` that is set when the server begins to stop.
STOPPING = "stopping"
# Generous, since importing and loading vocabularies on a busy machine is not hanging.
WORKER_SILENCE_S = 15
WORKER_POLL_S = 0.05
# Between the end of what a worker may take and its being killed.
WORKER_GRACE_S = 1.0

logger = logging.getLogger("uvicorn.error")


@dataclass(frozen=True, slots=True)
class WorkerFiles:
    """Where several workers keep what they count together; what that is, nobody here knows."""

    shared: Callable[[], AbstractContextManager[None]]
    """There is such a place while this lasts; `OSError` where there cannot be one."""
    give_place: Callable[[int], None]
    """The worker that is started next keeps its own under this number."""


def run(  # noqa: PLR0913 - what `serve` can be told
    app: str | Callable[[], ASGIApplication] = APPLICATION,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    log_config: dict[str, object] | None = None,
    log_level: str = "info",
    forwarded_allow_ips: str | None = None,
    shutdown_s: float = SHUTDOWN_S,
    on_ready: Callable[[str], None] | None = None,
    files: WorkerFiles | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code, so that the caller can clean up.

    Running requests then have `shutdown_s` to end before they are cut. `app` names a factory
    without arguments; with several workers it must be an import string. Port 0 takes a free one.
    Prints `listening on http://H:N` to stdout once requests are answered (by all workers), then
    calls `on_ready` with that URL. What keeps the server from starting is one line on stderr, and
    the code is 1.
    """
    try:
        listener = listen(host, port)
    except (OSError, OverflowError) as error:
        _say_why(f"cannot listen on {_url(host, port)}: {_one_line(error)}")
        return 1
    config = build_config(
        app,
        host=host,
        port=port,
        workers=workers,
        log_config=log_config,
        log_level=log_level,
        forwarded_allow_ips=forwarded_allow_ips,
        shutdown_s=shutdown_s,
    )
    with listener:
        url = _url(host, cast("tuple[str, int]", listener.getsockname())[1])

        def announce() -> None:
            _announce(url)
            if on_ready is not None:
                on_ready(url)

        if workers > 1:
            return _serve_from_workers(config, listener, announce, files)
        return _serve_from_here(config, listener, announce)


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket. `host` is a name or an address, IPv6 with or without brackets.

    Raises:
        OSError: the port is taken, or the host is not one of this machine.
    """
    name = host.strip("[]")
    family, kind, protocol, _, address = socket.getaddrinfo(
        name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # On Windows this option would share the port with others.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def build_config(  # noqa: PLR0913 - as run()
    app: str | Callable[[], ASGIApplication] = APPLICATION,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    log_config: dict[str, object] | None = None,
    log_level: str = "info",
    forwarded_allow_ips: str | None = None,
    shutdown_s: float = SHUTDOWN_S,
) -> Config:
    """Everything uvicorn is told. Without `forwarded_allow_ips`, FORWARDED_ALLOW_IPS counts."""
    # uvicorn's "trace" writes whole header lists, keys included, so it is not to be had.
    level = "debug" if log_level.lower() == "trace" else log_level.lower()
    config = Config(
        app,
        factory=True,
        interface="asgi3",
        host=host,
        port=port,
        workers=workers,
        loop="uvloop" if importlib.util.find_spec("uvloop") else "asyncio",
        http=HardenedProtocol,
        ws="none",
        lifespan="on",
        log_config=log_config,
        log_level=level,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=True,
        forwarded_allow_ips=forwarded_allow_ips,
        backlog=BACKLOG,
        limit_concurrency=None,
        timeout_keep_alive=KEEP_ALIVE_S,
        # For uvicorn's own server, which knows whole seconds only; ours goes by what follows.
        timeout_graceful_shutdown=math.ceil(shutdown_s),
        timeout_worker_healthcheck=WORKER_SILENCE_S,
    )
    config.shutdown_s = shutdown_s
    return config


def _serve_from_here(config: Config, listener: socket.socket, announce: Callable[[], None]) -> int:
    server = Server(config, announce)
    try:
        server.run(sockets=[listener])
    except SystemExit:  # uvicorn's way of saying that the start failed; why has been said.
        return 1
    return 0


def _serve_from_workers(
    config: Config,
    listener: socket.socket,
    announce: Callable[[], None],
    files: WorkerFiles | None,
) -> int:
    before = {number: signal.getsignal(number) for number in cast("dict[int, str]", SIGNALS)}
    with contextlib.ExitStack() as stack:
        try:
            if files is not None:
                stack.enter_context(files.shared())
        except OSError as error:
            _say_why(f"workers have nowhere to count together: {_one_line(error)}")
            return 1
        supervisor = _Supervisor(config, listener, announce, files)
        try:
            supervisor.run()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return 1 if supervisor.failed else 0


class Config(uvicorn.Config):
    """The configuration, which is also what reaches a worker: so its hooks are here."""

    shutdown_s: float = SHUTDOWN_S
    """How long running requests may go on when the server is told to end."""

    @property
    def kill_after_s(self) -> float:
        """What a worker may take to end, at most; one that takes longer hangs."""
        return self.shutdown_s + CUT_S + CLOSE_S + WORKER_GRACE_S

    @override
    def load(self) -> None:
        _end_with_parent(self.kill_after_s)
        try:
            super().load()
        except Exception as error:
            logger.debug("The application cannot be loaded.", exc_info=error)
            _say_why(_one_line(error))
            sys.exit(STARTUP_FAILURE)
        self.lifespan_class = _Lifespan


class _Lifespan(LifespanOn):
    """uvicorn's lifespan, with one line instead of a traceback when the start fails."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.state[STOPPING] = asyncio.Event()

    @override
    async def startup(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self.main())
        await self.receive_queue.put({"type": "lifespan.startup"})
        await self.startup_event.wait()
        self.should_exit = self.startup_failed or self.error_occurred
        if self.should_exit:
            # Starlette reports the failure first and raises what caused it right after.
            await self._task
            if not self.error_occurred:
                _say_why("the application did not start")

    @override
    async def main(self) -> None:
        scope: LifespanScope = {
            "type": "lifespan",
            "asgi": {"version": self.config.asgi_version, "spec_version": "2.0"},
            "state": self.state,
        }
        app = cast("ASGI3Application", self.config.loaded_app)
        try:
            await app(
                scope,
                cast("ASGIReceiveCallable", self.receive),
                cast("ASGISendCallable", self.send),
            )
        except Exception as error:
            self.error_occurred = True
            logger.debug("The application's lifespan ended with an error.", exc_info=error)
            _say_why(_one_line(error))
        finally:
            self.startup_event.set()
            self.shutdown_event.set()

    @override
    async def send(self, message: LifespanSendMessage) -> None:
        if (
            message["type"] == "lifespan.startup.failed"
            or message["type"] == "lifespan.shutdown.failed"
        ):
            message["message"] = ""  # A traceback, of the exception that `main` is about to see.
        await super().send(message)


class Server(uvicorn.Server):
    """One worker in this process, which ends with code 0 when it is told to end."""

    lifespan: LifespanOn

    def __init__(self, config: Config, announce: Callable[[], None] | None = None) -> None:
        super().__init__(config)
        self._config = config
        self._announce = announce

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._announce is not None and not self.should_exit:
            self._announce()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._refuse_connections(sockets or [])
        if not await self._has_ended_within(self._config.shutdown_s, hurry=True):
            await self._cut()
        try:
            await asyncio.wait_for(self.lifespan.shutdown(), CLOSE_S)
        except TimeoutError:
            logger.warning("The application did not close within %g s.", CLOSE_S)

    def _refuse_connections(self, sockets: list[socket.socket]) -> None:
        cast("asyncio.Event", self.lifespan.state[STOPPING]).set()
        for listener in [*self.servers, *sockets]:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()

    async def _has_ended_within(self, limit_s: float, *, hurry: bool = False) -> bool:
        """Wait for every request, and for its answer to have left."""
        deadline = time.monotonic() + limit_s
        while self.server_state.tasks or self.server_state.connections:
            if time.monotonic() >= deadline or (hurry and self.force_exit):
                return False
            await asyncio.sleep(DRAIN_POLL_S)
        return True

    async def _cut(self) -> None:
        """Cancel what runs, and forget what waits behind it on the same connection."""
        deadline = time.monotonic() + CUT_S
        connections = cast("set[HardenedProtocol]", self.server_state.connections)
        for connection in connections:
            connection.pipeline.clear()
        tasks = list(self.server_state.tasks)
        for task in tasks:
            _ = task.cancel()
        if tasks:
            logger.warning("%d requests still ran and were cut.", len(tasks))
            _, late = await asyncio.wait(tasks, timeout=CUT_S)
            if late:
                logger.error("%d requests did not end.", len(late))
        for connection in list(connections):
            connection.transport.close()
        _ = await self._has_ended_within(deadline - time.monotonic())

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        # uvicorn raises the signal once more at the end, which would kill this process before it
        # has stopped the database that it owns.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Worker(Process):
    """One worker in a process of its own."""

    @property
    @override
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = Server(cast("Config", self.config))
        return self._server


class _Supervisor(Multiprocess):
    """uvicorn's supervisor, which knows when all workers are ready and waits for none forever."""

    def __init__(
        self,
        config: Config,
        listener: socket.socket,
        announce: Callable[[], None],
        files: WorkerFiles | None,
    ) -> None:
        super().__init__(config, sockets=[listener])
        self._files = files
        self._announce = announce
        self._kill_after_s = config.kill_after_s
        self.failed = False
        """It ends because the application does not start."""

    @override
    def init_processes(self) -> None:
        # One first: what is wrong with the start is then said once, not once per worker.
        self._start_workers(1)
        if self._wait_until_ready():
            self._start_workers(self.processes_num - 1)
            if self._wait_until_ready():
                self._announce()

    def _start_workers(self, count: int) -> None:
        for _ in range(count):
            self.processes.append(self._start_worker(len(self.processes)))

    def _start_worker(self, place: int) -> _Worker:
        if self._files is not None:
            self._files.give_place(place)
        worker = _Worker(self.config, self.sockets)
        worker.start()
        return worker

    def _wait_until_ready(self) -> bool:
        """False when a signal or the end of a worker came first."""
        while not self.should_exit.wait(WORKER_POLL_S):
            self.handle_signals()
            if any(worker.exitcode is not None for worker in self.processes):
                self.failed = True
                self.should_exit.set()
            elif all(worker.is_ready(timeout=1) for worker in self.processes):
                return True
        return False

    @override
    def handle_signals(self) -> None:
        # uvicorn's other signals restart and add workers; those would not be ours.
        if any(number in HANDLED_SIGNALS for number in self.signal_queue):
            self.should_exit.set()
        self.signal_queue.clear()

    @override
    def keep_subprocess_alive(self) -> None:
        for place, worker in enumerate(self.processes):
            if self.should_exit.is_set() or self._responses(worker):
                continue
            worker.kill()
            worker.process.join()
            logger.error("Worker %s is gone (%s).", worker.pid, worker.exitcode)
            # One that cannot be replaced now may be later; others may be serving meanwhile.
            if worker.exitcode == STARTUP_FAILURE and not self._has_others(worker):
                self.failed = True
                self.should_exit.set()
            else:
                self.processes[place] = self._start_worker(place)

    def _responses(self, worker: Process) -> bool:
        """Whether a worker is there and has not been silent for too long.

        A signal comes first: it must not wait for a worker that hangs.
        """
        deadline = time.monotonic() + self.config.timeout_worker_healthcheck
        while worker.process.is_alive() and time.monotonic() < deadline:
            if self.signal_queue or worker.ping(timeout=WORKER_POLL_S):
                return True
        return False

    def _has_others(self, worker: Process) -> bool:
        return any(other is not worker and other.process.is_alive() for other in self.processes)

    @override
    def terminate_all(self) -> None:
        # Else this process' copy would go on taking connections that nobody answers.
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    @override
    def join_all(self) -> None:
        deadline = time.monotonic() + self._kill_after_s
        for worker in self.processes:
            while worker.process.is_alive() and time.monotonic() < deadline:
                self._pass_on_hurry()
                worker.process.join(WORKER_POLL_S)
            if worker.process.is_alive():
                logger.error("Worker %s did not end in time and is killed.", worker.pid)
                worker.process.kill()
            worker.process.join()

    def _pass_on_hurry(self) -> None:
        """Let the workers hear of a second SIGINT."""
        hurried = os.name == "posix" and signal.SIGINT in self.signal_queue
        self.signal_queue.clear()
        for worker in self.processes if hurried else ():
            if worker.pid is not None and worker.process.is_alive():
                os.kill(worker.pid, signal.SIGINT)


def _end_with_parent(kill_after_s: float) -> None:
    """In a worker: end gracefully when the supervisor has died, however it died."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait_for_its_end() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(kill_after_s)
        os._exit(1)

    threading.Thread(target=wait_for_its_end, name="parent-watch", daemon=True).start()


def _url(host: str, port: int) -> str:
    name = host.strip("[]")
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _announce(url: str) -> None:
    sys.stdout.write(f"listening on {url}\n")
    sys.stdout.flush()


def _say_why(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _one_line(error: BaseException) -> str:
    """What to tell an operator: the innermost message, with the type where it says too little."""
    while isinstance(error, BaseExceptionGroup):
        nested: tuple[BaseException, ...] = error.exceptions
        error = nested[0]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    name = type(error).__name__
    return f"{name}: {text}" if not text or isinstance(error, (LookupError, TypeError)) else text
