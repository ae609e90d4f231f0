"""Offloaded work gives way to the event loop."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from tokenbalance.offload import offload


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux")
async def test_counting_has_a_lower_priority_than_relaying() -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert await offload(priority) > priority()


async def test_what_it_raises_reaches_who_asked() -> None:
    with pytest.raises(ZeroDivisionError):
        _ = await offload(lambda: 1 // 0)
