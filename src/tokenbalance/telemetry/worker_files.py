"""The files in which several workers count together: one set for each worker's place.

A worker that replaces another takes its place and continues its files: what a dead worker counted
stays counted, once, and the number of files does not grow. A gauge ends with its worker.

The supervisor owns the folder while it lives; the folder of one that was killed is removed by the
next. This file does not know what is counted.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client import values

if TYPE_CHECKING:
    from collections.abc import Generator

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder to workers; prometheus-client's own name for it."""
PLACE: Final = "TOKENBALANCE_WORKER_PLACE"
"""The variable that names the place of a worker."""

_PREFIX: Final = "tokenbalance-workers-"
_BYTES: Final = 256 * 1024
"""The size of one file: more than all possible series need."""


@contextmanager
def shared_files() -> Generator[None]:
    """In the supervisor: make the folder, and remove it at the end.

    Raises:
        OSError: there is no folder for temporary files.

    """
    _remove_abandoned(Path(tempfile.gettempdir()))
    folder, lock = _make_folder()
    os.environ[FOLDER] = str(folder)
    try:
        yield
    finally:
        for name in (FOLDER, PLACE):
            _ = os.environ.pop(name, None)
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def give_place(place: int) -> None:
    """In the supervisor: make the next worker that is started count in this place.

    The worker that had it before must have ended.
    """
    os.environ[PLACE] = str(place)
    for gauges in Path(os.environ[FOLDER]).glob(f"gauge_live*_{place}.db"):
        gauges.unlink(missing_ok=True)


def count_together() -> Path | None:
    """In a worker: keep every metric that is created from now on in the files of its place.

    Returns:
        The folder of all workers' files; None in a process that serves alone.

    Raises:
        OSError: the disk has no room for them.

    """
    place = os.environ.get(PLACE)
    if place is None or FOLDER not in os.environ:
        values.ValueClass = values.MutexValue
        return None
    folder = Path(os.environ[FOLDER])
    for kind in ("counter", "histogram", "gauge_livesum", "gauge_livemin"):
        _allocate(folder, f"{kind}_{place}.db")
    values.ValueClass = values.MultiProcessValue(  # pyright: ignore[reportUnknownMemberType] - the package leaves it unannotated
        lambda: place
    )
    return folder


def _allocate(folder: Path, name: str) -> None:
    """Allocate the file now: on a full disk, writing to a mapped file would kill the worker.

    A file appears complete, since another worker may be reading all of them.
    """
    path = folder / name
    if path.exists():
        return
    made = folder / f"{name}.new"
    with made.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, _BYTES)
    made.rename(path)


def _make_folder() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = _lock(folder)
        if lock is not None:
            return folder, lock


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        # Folders of other users cannot be opened, and those in use cannot be locked.
        with suppress(OSError):
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder; None when it is in use, or was removed meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(folder.stat(), os.fstat(descriptor)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
