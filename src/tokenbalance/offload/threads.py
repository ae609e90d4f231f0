"""CPU-bound work in threads, so that the event loop goes on.

Counting a long prompt takes tens of milliseconds, nearly all of them without the interpreter's
lock. On few cores the scheduler would share a core between that and the event loop, and every
response would wait for its turn. So threads that count get about a tenth of a core that is fully
used. Reading a body needs that lock, which the loop waits for: a thread that reads is not slowed
down while it has it. This file owns the threads, not the work.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar, cast
from weakref import WeakKeyDictionary

from tokenbalance.offload.fair_queue import FairQueue

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

_NICE: Final = 10
_SMALL_BYTES_MAX: Final = 256 * 1024
"""A text up to this size is counted within tens of milliseconds."""


def _give_way() -> None:
    # Linux accepts a thread id as a process id; other systems have no priority for threads.
    with suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


_FAIR_PLACES: Final = max(os.cpu_count() or 1, 2)
_THREADS: Final = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="offload")
_FAIR_THREADS: Final = ThreadPoolExecutor(
    _FAIR_PLACES, thread_name_prefix="offload-fair", initializer=_give_way
)
_QUEUES: Final = WeakKeyDictionary[asyncio.AbstractEventLoop, FairQueue[object]]()


async def offload(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run work that is CPU-bound in Python in a thread; returns or raises what it does."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREADS, lambda: work(*args, **kwargs))


async def offload_fairly(
    account_id: int, size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Count in a thread of low priority, when it is the account's turn; returns what `work` does.

    An account's own work never runs twice at once, and small work of others does not wait for it.

    Args:
        account_id: whose work it is.
        size: bytes that it looks at.
        work: what to do.
        args: its arguments.
        kwargs: its arguments.

    """
    loop = asyncio.get_running_loop()
    queue = _QUEUES.get(loop)
    if queue is None:
        queue = _QUEUES[loop] = FairQueue(_FAIR_PLACES, _SMALL_BYTES_MAX)

    def start() -> asyncio.Future[object]:
        return loop.run_in_executor(_FAIR_THREADS, lambda: work(*args, **kwargs))

    return cast("T", await queue.run(account_id, size, start))
