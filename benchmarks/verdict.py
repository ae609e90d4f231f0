"""How a command of benchmarks ends: what it found, and where to look further."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SHOWN: Final = 40


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def conclude(breaches: Sequence[str], folder: Path) -> int:
    """Print what was broken, keep its data and logs; returns the exit code."""
    for breach in breaches[:_SHOWN]:
        say(f"BREACH: {breach}")
    if breaches:
        say(f"data and logs are kept in {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0
