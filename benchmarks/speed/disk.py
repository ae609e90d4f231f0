"""The disk of a run: what one commit that waits for it has to take."""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING, Final

from benchmarks.speed.figures import Figures

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "one fdatasync"
TIMES: Final = 100
_BLOCK: Final = b"\0" * 8192
"""What Postgres writes at least."""


def measure_disk(folder: Path) -> Figures:
    """Write a block in place and wait until the disk has it, as a commit of Postgres does."""
    file = folder / "fdatasync"
    took: list[float] = []
    with file.open("wb", buffering=0) as blocks:
        for _ in range(TIMES):
            began = time.perf_counter()
            _ = os.pwrite(blocks.fileno(), _BLOCK, 0)
            os.fdatasync(blocks.fileno())
            took.append((time.perf_counter() - began) * 1000)
    file.unlink()
    return Figures(p50_ms=statistics.median(took), p99_ms=statistics.quantiles(took, n=100)[-1])
