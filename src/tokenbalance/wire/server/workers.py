"""Several workers: a supervisor that starts, watches, replaces and ends processes that serve.

Owns what happens between processes; `lifecycle` owns what happens inside one. Where it can, workers
are copies of this process with all that it has loaded (`copies`); else each starts empty. It must
never serve a request itself, and never knows what is loaded or what the workers' files hold.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from typing_extensions import override
from uvicorn._subprocess import subprocess_started
from uvicorn.config import STARTUP_FAILURE
from uvicorn.server import HANDLED_SIGNALS
from uvicorn.supervisors.multiprocess import SIGNALS, Multiprocess, Process

from tokenbalance.wire.server import console
from tokenbalance.wire.server.copies import Copies, can_copy
from tokenbalance.wire.server.lifecycle import Config, Server

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from multiprocessing.context import SpawnProcess

    import uvicorn

POLL_S: Final = 0.05

logger = logging.getLogger("uvicorn.error")


@dataclass(frozen=True, slots=True)
class WorkerFiles:
    """Where several workers keep what they count together."""

    shared: Callable[[], AbstractContextManager[None]]
    """The place exists while this context lasts; `OSError` if it cannot be made."""
    give_place: Callable[[int], None]
    """Assigns a number to the worker that is started next; it keeps its own files under it."""


def serve_from_workers(
    config: Config,
    listener: socket.socket,
    announce: Callable[[], None],
    files: WorkerFiles | None,
    load: Callable[[], None] | None = None,
) -> int:
    """Serve from `config.workers` processes until SIGTERM or SIGINT; returns the exit code.

    Calls `announce` when all of them answer requests. What `load` loads, they share.
    """
    before = {
        number: cast("signal.Handlers", signal.getsignal(number))
        for number in cast("dict[int, str]", SIGNALS)
    }
    with contextlib.ExitStack() as stack:
        try:
            if files is not None:
                stack.enter_context(files.shared())
        except OSError as error:
            reason = console.one_line(error)
            console.report_failure(f"cannot create the workers' shared folder: {reason}")
            return 1
        supervisor = _Supervisor(config, listener, announce, files)
        stack.callback(_handle_signals, before)
        if load is not None and can_copy():
            try:
                load()
            except Exception as error:  # noqa: BLE001 - whatever it is, nothing can be served
                console.report_failure(console.one_line(error))
                return 1
            supervisor.copies = stack.enter_context(Copies(before))
        supervisor.run()
        return 1 if supervisor.failed else 0


def _handle_signals(handlers: Mapping[int, signal.Handlers]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


class _Worker(Process):
    """A server in a process of its own."""

    def __init__(
        self,
        config: uvicorn.Config,
        sockets: list[socket.socket],
        copies: Copies | None,
        others: Sequence[Process],
    ) -> None:
        super().__init__(config, sockets)
        self._copies = copies
        if copies is not None:
            # uvicorn's attribute names the kind of process that it would have started.
            begin = partial(self._begin, sockets, others)
            self.process = cast("SpawnProcess", copies.process(begin))

    @override
    def start(self) -> None:
        if self._copies is None:
            super().start()
        else:
            self._copies.start(self.process)

    def _begin(self, sockets: list[socket.socket], others: Sequence[Process]) -> None:
        """In a copy: serve, as a process that starts empty does."""
        for other in others:
            other.parent_conn.close()
            other.child_conn.close()
        subprocess_started(self.config, self.target, sockets, stdin_fileno=None)

    @property
    @override
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = Server(cast("Config", self.config))
        return self._server

    @override
    def target(self, sockets: list[socket.socket] | None = None) -> None:
        kill_after_s = cast("Config", self.config).kill_after_s
        if self._copies is not None:
            _end_after(self._copies.wait_for_end, kill_after_s)
        elif parent := multiprocessing.parent_process():
            _end_after(parent.join, kill_after_s)
        super().target(sockets)


class _Supervisor(Multiprocess):
    """uvicorn's supervisor, which knows when all workers are ready and never waits forever."""

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
        self.copies: Copies | None = None
        """Starts workers with what is loaded here; None: they start empty."""
        self.failed = False
        """It ends because the application does not start."""

    @override
    def init_processes(self) -> None:
        # One first, so that a failure to start is reported once and not by every worker.
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
        worker = _Worker(self.config, self.sockets, self.copies, self.processes)
        worker.start()
        return worker

    def _wait_until_ready(self) -> bool:
        """False when a signal or the end of a worker came first."""
        while not self.should_exit.wait(POLL_S):
            self.handle_signals()
            if any(worker.exitcode is not None for worker in self.processes):
                self.failed = True
                self.should_exit.set()
            elif all(worker.is_ready(timeout=1) for worker in self.processes):
                return True
        return False

    @override
    def handle_signals(self) -> None:
        # uvicorn's other signals restart and add workers, which would not be ours.
        if any(number in HANDLED_SIGNALS for number in self.signal_queue):
            self.should_exit.set()
        self.signal_queue.clear()

    @override
    def keep_subprocess_alive(self) -> None:
        for place, worker in enumerate(self.processes):
            if self.should_exit.is_set() or self._responds(worker):
                continue
            worker.kill()
            worker.process.join()
            logger.error("Worker %s is gone (%s).", worker.pid, worker.exitcode)
            # A worker that cannot be replaced now may be later; others may be serving meanwhile.
            if worker.exitcode == STARTUP_FAILURE and not self._has_others(worker):
                self.failed = True
                self.should_exit.set()
            else:
                self.processes[place] = self._start_worker(place)

    def _responds(self, worker: Process) -> bool:
        """Whether a worker is alive and has not been silent for too long.

        A signal comes first: it must not wait for a worker that hangs.
        """
        deadline = time.monotonic() + self.config.timeout_worker_healthcheck
        while worker.process.is_alive() and time.monotonic() < deadline:
            if self.signal_queue or worker.ping(timeout=POLL_S):
                return True
        return False

    def _has_others(self, worker: Process) -> bool:
        return any(other is not worker and other.process.is_alive() for other in self.processes)

    @override
    def terminate_all(self) -> None:
        # Otherwise this process's copy would go on taking connections that nobody answers.
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    @override
    def join_all(self) -> None:
        deadline = time.monotonic() + self._kill_after_s
        for worker in self.processes:
            while worker.process.is_alive() and time.monotonic() < deadline:
                self._pass_on_hurry()
                worker.process.join(POLL_S)
            if worker.process.is_alive():
                logger.error("Worker %s did not end in time and is killed.", worker.pid)
                worker.process.kill()
            worker.process.join()

    def _pass_on_hurry(self) -> None:
        """Pass a second SIGINT on to the workers."""
        hurried = os.name == "posix" and signal.SIGINT in self.signal_queue
        self.signal_queue.clear()
        for worker in self.processes if hurried else ():
            if worker.pid is not None and worker.process.is_alive():
                os.kill(worker.pid, signal.SIGINT)


def _end_after(end_of_parent: Callable[[], None], kill_after_s: float) -> None:
    """In a worker: shut down gracefully when the supervisor has died, for whatever reason."""

    def wait_for_its_end() -> None:
        end_of_parent()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(kill_after_s)
        os._exit(1)

    threading.Thread(target=wait_for_its_end, name="parent-watch", daemon=True).start()
