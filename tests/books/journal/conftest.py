"""A journal in a folder of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tokenbalance.books.holds.journal import (
    Journal,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "journal"


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    journal = Journal.open(folder)
    yield journal
    journal.close()
