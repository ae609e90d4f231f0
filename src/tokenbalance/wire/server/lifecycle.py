"""One server's life: its configuration, startup, signals and graceful shutdown.

Owns how uvicorn is configured, started and stopped in one process; `protocol` owns what counts as a
request, and `workers` how several processes are run.

How a server ends after SIGTERM or SIGINT (with several workers, all at the same time):

    at once            `STOPPING` is set; connections are refused, idle ones closed
    up to shutdown_s   requests in flight go on to their end
    then, CUT_S        what still runs is cancelled, once, and may end its response and its hold
    then, CLOSE_S      the application's lifespan closes what requests use; never earlier

Connections are refused instead of accepted until the end: nothing was sent on a refused one, so
every load balancer and SDK can retry elsewhere. What was accepted late would be cut. A second
SIGINT ends the wait for requests and cuts them at once; nothing else is skipped. A second SIGTERM
changes nothing: one stop may reach a process in more than one way.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import math
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Final, cast

import uvicorn
from typing_extensions import override
from uvicorn.config import STARTUP_FAILURE
from uvicorn.lifespan.on import LifespanOn
from uvicorn.server import HANDLED_SIGNALS

from tokenbalance.wire.server import console
from tokenbalance.wire.server.descriptors import (
    OUT_OF_DESCRIPTORS,
    Descriptors,
    limit_of_process,
)
from tokenbalance.wire.server.direct import Entrance
from tokenbalance.wire.server.listener import BACKLOG
from tokenbalance.wire.server.protocol import HttpProtocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator

    from uvicorn._types import (
        ASGI3Application,
        ASGIApplication,
        ASGIReceiveCallable,
        ASGISendCallable,
        LifespanScope,
    )
    from uvicorn.lifespan.on import LifespanSendMessage

KEEP_ALIVE_S: Final = 75
"""Longer than the 60 seconds after which most load balancers drop an idle connection, so that this
server never closes one just as a request is being sent on it."""
SHUTDOWN_S: Final = 25.0
CUT_S: Final = 3.0
"""Longer than it takes to end a hold and write an event, and as long as is worth waiting for a
client that does not read."""
CLOSE_S: Final = 5.0
DRAIN_POLL_S: Final = 0.05
ACCEPTED_AT_ONCE: Final = 16
"""How many connections asyncio accepts before anything else runs: few enough that others can be
closed for them before file descriptors run out."""
_TICKS_BETWEEN_LOOKS: Final = 10
"""uvicorn ticks ten times a second."""
STOPPING: Final = "stopping"
"""The key, in the lifespan's state and so in the state of every request's scope, of an
`asyncio.Event` that is set when the server begins to shut down."""
WORKER_SILENCE_S: Final = 15
"""After which a worker counts as hanging. Generous: one that starts empty imports the application,
which may take long on a busy machine."""
WORKER_GRACE_S: Final = 1.0
"""From the end of the time that a worker may take to shut down until it is killed."""

logger = logging.getLogger("uvicorn.error")


def build_config(  # noqa: PLR0913 - one parameter for each option of `serve`
    app: str | Callable[[], ASGIApplication],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    log_config: dict[str, object] | None = None,
    log_level: str = "info",
    forwarded_allow_ips: str | None = None,
    shutdown_s: float = SHUTDOWN_S,
) -> Config:
    """Every setting of uvicorn. The parameters are those of `run`."""
    # uvicorn's "trace" logs whole header lists, keys included, so it is not available.
    level = "debug" if log_level.lower() == "trace" else log_level.lower()
    config = Config(
        app,
        factory=True,
        interface="asgi3",
        host=host,
        port=port,
        workers=workers,
        loop="uvloop" if importlib.util.find_spec("uvloop") else "asyncio",
        http=HttpProtocol,
        ws="none",
        lifespan="on",
        log_config=log_config,
        log_level=level,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,  # `Entrance` is what reads them
        forwarded_allow_ips=forwarded_allow_ips,
        backlog=ACCEPTED_AT_ONCE,
        limit_concurrency=None,
        timeout_keep_alive=KEEP_ALIVE_S,
        # For uvicorn's own server, in whole seconds; ours uses `shutdown_s`.
        timeout_graceful_shutdown=math.ceil(shutdown_s),
        timeout_worker_healthcheck=WORKER_SILENCE_S,
    )
    config.shutdown_s = shutdown_s
    return config


def serve_here(config: Config, listener: socket.socket, announce: Callable[[], None]) -> int:
    """Serve from this process until SIGTERM or SIGINT; returns the exit code.

    Calls `announce` when requests are answered.
    """
    server = Server(config, announce)
    try:
        server.run(sockets=[listener])
    except SystemExit:  # How uvicorn reports a failed start; the reason has been printed.
        return 1
    return 0


class Config(uvicorn.Config):
    """uvicorn's configuration. It is what reaches a worker process, so it carries our own too."""

    shutdown_s: float = SHUTDOWN_S
    """How long requests in flight may go on after the server begins to shut down."""

    _descriptors: Descriptors | None = None

    @property
    def descriptors(self) -> Descriptors:
        """Of the process that serves; this object may have been made in another one."""
        if self._descriptors is None:
            self._descriptors = Descriptors(limit_of_process())
        return self._descriptors

    @property
    def kill_after_s(self) -> float:
        """How long a worker may take to shut down; one that takes longer hangs."""
        return self.shutdown_s + CUT_S + CLOSE_S + WORKER_GRACE_S

    @override
    def load(self) -> None:
        try:
            super().load()
        except Exception as error:
            logger.debug("The application cannot be loaded.", exc_info=error)
            console.report_failure(console.one_line(error))
            sys.exit(STARTUP_FAILURE)
        self.loaded_app = Entrance(
            cast("ASGI3Application", self.loaded_app), self.forwarded_allow_ips
        )
        self.lifespan_class = _Lifespan


class _Lifespan(LifespanOn):
    """uvicorn's lifespan, which prints one line instead of a traceback if the start fails."""

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
            # Starlette reports the failure first and raises its cause right after.
            await self._task
            if not self.error_occurred:
                console.report_failure("the application did not start")

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
            console.report_failure(console.one_line(error))
        finally:
            self.startup_event.set()
            self.shutdown_event.set()

    @override
    async def send(self, message: LifespanSendMessage) -> None:
        if (
            message["type"] == "lifespan.startup.failed"
            or message["type"] == "lifespan.shutdown.failed"
        ):
            message["message"] = ""  # A traceback of the exception that `main` is about to catch.
        await super().send(message)


class Server(uvicorn.Server):
    """uvicorn's server with our shutdown; the process exits with 0 after a signal."""

    lifespan: LifespanOn

    def __init__(self, config: Config, announce: Callable[[], None] | None = None) -> None:
        super().__init__(config)
        self._config = config
        self._announce = announce

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._on_fault)
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(BACKLOG)  # The loop has set it to `ACCEPTED_AT_ONCE`.
        if self._announce is not None and not self.should_exit:
            self._announce()

    @override
    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_BETWEEN_LOOKS == 0:
            self._config.descriptors.look(self.server_state.connections)
        return await super().on_tick(counter)

    def _on_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """What the event loop reports; asyncio would log a traceback for each failed accept."""
        error = context.get("exception")
        if "socket" in context and isinstance(error, OSError) and error.errno in OUT_OF_DESCRIPTORS:
            self._config.descriptors.cannot_accept(self.server_state.connections)
        else:
            loop.default_exception_handler(context)

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
        """Wait for every request to end and its response to leave."""
        deadline = time.monotonic() + limit_s
        while self.server_state.tasks or self.server_state.connections:
            if time.monotonic() >= deadline or (hurry and self.force_exit):
                return False
            await asyncio.sleep(DRAIN_POLL_S)
        return True

    async def _cut(self) -> None:
        """Cancel requests in flight and drop those queued behind them on their connections."""
        deadline = time.monotonic() + CUT_S
        connections = cast("set[HttpProtocol]", self.server_state.connections)
        for connection in connections:
            connection.drop_waiting()
        tasks = list(self.server_state.tasks)
        for task in tasks:
            _ = task.cancel()
        if tasks:
            logger.warning("%d requests were still running and have been cut.", len(tasks))
            _, late = await asyncio.wait(tasks, timeout=CUT_S)
            if late:
                logger.error("%d requests did not end.", len(late))
        for connection in list(connections):
            connection.transport.close()
        _ = await self._has_ended_within(deadline - time.monotonic())

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        # uvicorn raises the signal again at the end, which would kill this process before it has
        # stopped the database that it owns.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
