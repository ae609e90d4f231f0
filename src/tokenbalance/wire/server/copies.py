"""Workers that are copies of their supervisor, and share the memory of what it has loaded.

Owns what a copy gives up before it serves: the handlers of its supervisor's signals, and its end of
the pipe by which all workers learn that the supervisor is gone. It must never copy a process in
which other threads run: what they had locked would stay locked in the copy.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.process import BaseProcess


def can_copy() -> bool:
    """Whether this process may be copied now; if not, workers start empty and load by themselves.

    Only on Linux: other systems' libraries are not made for it.
    """
    return sys.platform == "linux" and threading.active_count() == 1


class Copies:
    """Starts copies of this process."""

    def __init__(self, handlers: Mapping[int, signal.Handlers]) -> None:
        self._handlers: Final = handlers
        """Of the signals that this process handles itself: what a copy is to do with them."""
        self._ended, self._alive = os.pipe()
        # What is here stays: the garbage collector of a copy need not write to its pages.
        _ = gc.collect()
        gc.freeze()

    def process(self, work: Callable[[], None]) -> BaseProcess:
        """A process that will do `work`; it has to be started by `start`."""
        return multiprocessing.get_context("fork").Process(target=self._begin, args=(work,))

    def start(self, process: BaseProcess) -> None:
        """Start a copy. A signal that it gets meanwhile waits until it has handlers of its own."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._handlers)
        try:
            process.start()
        finally:
            _ = signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def wait_for_end(self) -> None:
        """In a copy: block until the process that it is a copy of has ended."""
        _ = os.read(self._ended, 1)

    def __enter__(self) -> Self:
        """Start copies until the end of this context."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close the pipe, which copies that still run take for the end of this process."""
        os.close(self._ended)
        os.close(self._alive)

    def _begin(self, work: Callable[[], None]) -> None:
        os.close(self._alive)
        for number, handler in self._handlers.items():
            _ = signal.signal(number, handler)
        _ = signal.pthread_sigmask(signal.SIG_UNBLOCK, self._handlers)
        work()
