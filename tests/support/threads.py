"""Threads that are busy with something else."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@asynccontextmanager
async def busy_threads() -> AsyncGenerator[None]:
    """Keep every thread busy that the event loop has for all that asks for none of its own."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    is_free = threading.Event()
    busy = loop.run_in_executor(None, is_free.wait)
    try:
        yield
    finally:
        is_free.set()
        _ = await busy
        # The loop is that of all tests, and others need several threads at once.
        loop.set_default_executor(ThreadPoolExecutor())
