"""How a command of benchmarks ends: what it found, and where to look further."""

from __future__ import annotations

import asyncio
import shutil
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

_SHOWN: Final = 40


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def breaches_of(
    work: Callable[[], Coroutine[None, None, list[str]]],
    faults: tuple[type[Exception], ...],
    limit_s: float | None = None,
) -> list[str]:
    """Run a command's work to its end; returns what was broken.

    SIGTERM ends everything that was started, as Ctrl-C does.

    Args:
        work: what to do.
        faults: errors whose message is what was broken.
        limit_s: how long it may take; None: as long as it does.

    """

    async def until_stopped() -> list[str]:
        task = asyncio.current_task()
        assert task
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with asyncio.timeout(limit_s):
            return await work()

    try:
        return asyncio.run(until_stopped())
    except faults as error:
        return [str(error)]
    except TimeoutError:
        return [f"not done after {limit_s:.0f} s"]
    except (KeyboardInterrupt, asyncio.CancelledError):
        return ["interrupted"]


def conclude(breaches: Sequence[str], folder: Path) -> int:
    """Print what was broken, keep its data and logs; returns the exit code."""
    for breach in breaches[:_SHOWN]:
        say(f"BREACH: {breach}")
    if breaches:
        say(f"data and logs are kept in {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0
