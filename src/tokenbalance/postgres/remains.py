"""What a killed server leaves behind: a pid file, and perhaps processes that are still ending.

The pid in the file proves nothing: after a reboot it may belong to any program, and Postgres would
refuse to start. The shared memory is a proof: every process of a server is attached to it, and its
key is derived from the data folder. Called only by the owner of the data folder.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from tokenbalance.postgres.errors import DataFolderInUse

# A postmaster gives its children five seconds in an immediate shutdown.
TIMEOUT_REMAINS_S = 20.0

_POLL_S = 0.05
_SEGMENTS = Path("/proc/sysvipc/shm")
# Lines of postmaster.pid; the last is missing until the shared memory exists.
_LINE_PID, _LINE_SEGMENT = 0, 6


@dataclass(frozen=True, slots=True)
class PidFile:
    """The content of postmaster.pid."""

    pid: int
    key: int | None
    segment: int | None


def clear_remains(cluster: Path, timeout_s: float = TIMEOUT_REMAINS_S) -> None:
    """Wait until no process uses the cluster, then remove a stale pid file.

    Where there is no list of shared memory (not Linux), Postgres decides for itself.

    Raises:
        DataFolderInUse: another server runs on the cluster and does not end.
    """
    path = cluster / "postmaster.pid"
    deadline = time.monotonic() + timeout_s
    while (left := _read(path)) is not None and _SEGMENTS.exists():
        if not _is_in_use(left):
            path.unlink(missing_ok=True)
        elif time.monotonic() > deadline:
            who = (
                f"another Postgres (pid {left.pid}) is running"
                if _is_postgres(left.pid)
                else f"processes left behind by a Postgres (pid {left.pid}) are still running"
            )
            msg = f"{who} on {cluster}"
            raise DataFolderInUse(msg)
        else:
            time.sleep(_POLL_S)


def _read(path: Path) -> PidFile | None:
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return None
    try:
        pid = int(lines[_LINE_PID])
    except (IndexError, ValueError):
        # Killed between creating the file and writing it: nothing was started yet.
        return PidFile(pid=0, key=None, segment=None)
    numbers = lines[_LINE_SEGMENT].split() if len(lines) > _LINE_SEGMENT else []
    match [int(number) for number in numbers]:
        case [key, segment]:
            return PidFile(pid, key, segment)
        case _:
            return PidFile(pid, None, None)


def _is_in_use(left: PidFile) -> bool:
    if left.segment is None:
        return _is_postgres(left.pid)
    for line in _SEGMENTS.read_text().splitlines()[1:]:
        key, segment, _mode, _size, _creator, _last, attached, *_rest = line.split()
        if (int(key), int(segment)) == (left.key, left.segment):
            return int(attached) > 0
    return False


def _is_postgres(pid: int) -> bool:
    try:
        # Empty for a zombie, which stays if nobody reaps it, as in many containers.
        program, *_arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return Path(os.fsdecode(program)).name == "postgres"
