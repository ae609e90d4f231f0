"""CPU-bound work off the event loop, in threads of lower priority.

Counting a long prompt takes tens of milliseconds. On few cores the scheduler would share a core
between that and the event loop, and every response would wait for its turn. So these threads get
about a tenth of a core that is fully used. This file owns the threads, not the work.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

_NICE: Final = 10


def _give_way() -> None:
    # Linux accepts a thread id as a process id; other systems have no priority for threads.
    with suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


_THREADS: Final = ThreadPoolExecutor(
    max_workers=os.cpu_count() or 1, thread_name_prefix="offload", initializer=_give_way
)


async def offload(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run CPU-bound work in a thread; returns or raises what it does."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREADS, lambda: work(*args, **kwargs))
