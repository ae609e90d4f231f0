"""Processes as the kernel knows them: whose children they are, and signals to exactly those.

Only ever by number, and only of what this command has started: never by name.
"""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable


def children_of(pid: int) -> list[int]:
    """List the processes that have this parent now."""
    return families().get(pid, [])


def families() -> dict[int, list[int]]:
    """List the children of every process that has any now, in one look."""
    found: dict[int, list[int]] = defaultdict(list)
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda folder: int(folder.name)):
        with suppress(OSError):
            # The name before it is in brackets and may hold anything.
            _state, parent, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            found[int(parent)].append(int(folder.name))
    return found


def command_of(pid: int) -> str:
    """Read what a process was started with; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def resident_bytes(pid: int) -> int:
    """Tell how much memory a process has in use; 0 when it is gone."""
    try:
        _size, resident, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return int(resident) * os.sysconf("SC_PAGE_SIZE")


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    """Send a signal to those that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
