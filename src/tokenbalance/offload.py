"""Work beside the event loop, in threads that give way to it.

Counting a long prompt takes tens of milliseconds. Where cores are few, the scheduler would share
one between that and the loop, and everybody's next byte would wait for its turn; so these threads
have a lower priority: a tenth of a core that is fully used. Owns them, and nothing of what runs
there.
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
    # Linux takes a thread's number for a process's; other systems know no such priority.
    with suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


_THREADS: Final = ThreadPoolExecutor(
    max_workers=os.cpu_count() or 1, thread_name_prefix="offload", initializer=_give_way
)


async def offload(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what takes CPU time; returns or raises what it does."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREADS, lambda: work(*args, **kwargs))
