"""The machine: which cores a run gives to whom, free ports, and what to call it in a table.

A subject has core 0 (a core for each worker), everything else of the run the other cores. With two
cores that is core 1 for load, upstream and Postgres together; with one nothing can be kept apart.
"""

from __future__ import annotations

import os
import platform
import random
import resource
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Below what the kernel gives to outgoing connections, which would take an upstream's port while it
# is being started anew.
_PORTS: Final = range(20_000, 30_000)
_GIVEN: Final[set[int]] = set()


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where."""

    subject: frozenset[int]
    rest: frozenset[int]

    @property
    def apart(self) -> bool:
        """Whether a subject shares no core with its load."""
        return not self.subject & self.rest


def cores_for(workers: int = 1) -> Cores:
    """Share the cores out, a subject with so many workers first."""
    every = sorted(os.sched_getaffinity(0))
    return Cores(frozenset(every[:workers]), frozenset(every[workers:] or every[-1:]))


def move_to(cores: frozenset[int], pids: list[int]) -> None:
    """Let processes run on these cores, with all of their threads and what they start later."""
    for pid in pids:
        with suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), cores)


def free_port() -> int:
    """Find a port that nobody listens at, nor any other program of this run will."""
    while True:
        port = random.choice(_PORTS)
        if port in _GIVEN:
            continue
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            _GIVEN.add(port)
            return port


def raise_open_files() -> None:
    """Allow as many open files as may be allowed: a relayed stream takes two."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def describe() -> str:
    """Name the machine in a line."""
    model = ""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            (line.partition(":")[2] for line in lines if line.startswith("model name")), ""
        )
    cores = len(os.sched_getaffinity(0))
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    name = model.strip() or platform.machine()
    return f"{name}, {cores} cores, {system}, Python {platform.python_version()}"
