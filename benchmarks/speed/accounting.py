"""What processes have used, as the kernel counts it: CPU time and memory of a whole tree.

CPU time is user and system of every thread, from the clock that the kernel keeps for each process
(to the nanosecond), and of children that have ended, from `/proc/PID/stat` (in ticks of 10 ms).
Memory is the proportional share (Pss), so that what workers share is counted once. Only reads.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.processes import families

_TICK_US: Final = 1_000_000 / os.sysconf("SC_CLK_TCK")
_CUTIME: Final = 13
"""Place in `/proc/PID/stat` after the name; cstime follows."""
_CLOCK_OF_PROCESS: Final = 2
"""`CPUCLOCK_SCHED` in the lower three bits of a clock's number; the process is in the others."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A process and its descendants, except one of them and its descendants."""

    root: int
    without: int | None = None

    def pids(self) -> list[int]:
        """List those that run now."""
        children = families()
        found = [self.root]
        for pid in found:
            found += [child for child in children.get(pid, ()) if child != self.without]
        return found

    def cpu_us(self) -> float:
        """Tell the CPU time that all of them have used so far, in microseconds."""
        return sum(map(_cpu_us, self.pids()))

    def loop_us(self) -> float:
        """Tell the CPU time of their main threads, which run the event loops, in microseconds."""
        return sum(map(_main_thread_us, self.pids()))

    def pss_kib(self) -> int:
        """Tell their memory, in KiB."""
        return sum(map(_pss_kib, self.pids()))


def _cpu_us(pid: int) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ended = sum(map(int, fields[_CUTIME : _CUTIME + 2])) * _TICK_US
        return ended + time.clock_gettime_ns((~pid << 3) | _CLOCK_OF_PROCESS) / 1000
    return 0


def _main_thread_us(pid: int) -> float:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1000
    return 0


def _pss_kib(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
