"""Offloaded work gives way to the event loop."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

import pytest

from tokenbalance.offload import offload, offload_fairly


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux")
async def test_counting_has_a_lower_priority_than_relaying_and_reading_has_not() -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert await offload_fairly(1, 1, priority) > priority()
    # It has the interpreter's lock, which the event loop waits for.
    assert await offload(priority) == priority()


async def test_what_it_raises_reaches_who_asked() -> None:
    with pytest.raises(ZeroDivisionError):
        _ = await offload(lambda: 1 // 0)


async def test_small_work_of_one_account_does_not_wait_for_large_work_of_others() -> None:
    release = threading.Event()
    large = [
        asyncio.create_task(offload_fairly(account_id, 4_000_000, release.wait, 60))
        for account_id in (1, 1, 1, 1, 2, 3, 4)
    ]
    try:
        assert await offload_fairly(9, 5_000, lambda: "counted") == "counted"
        assert not any(task.done() for task in large)
    finally:
        release.set()
    assert await asyncio.gather(*large) == [True] * 7
