"""Processes on this machine and on another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import (
    create_holder,
)
from tests.support.sweeping import Process, new_process
from tokenbalance.books.ledger.audit import audit
from tokenbalance.database.connections import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


@pytest.fixture
async def here(pool: Pool, tmp_path: Path) -> AsyncIterator[Process]:
    """The process that sweeps; the books are sound after each of these tests."""
    here = await new_process(pool, tmp_path / "journal")
    yield here
    here.leases.close_journal()
    assert (await audit(pool)).violations == []


@pytest.fixture
async def elsewhere(dsn: str, tmp_path: Path) -> AsyncIterator[Process]:
    """A process on another machine, whose journal nobody here can read."""
    async with open_pool(dsn, 2) as pool:
        elsewhere = await new_process(pool, tmp_path / "of another machine")
        yield elsewhere
        elsewhere.leases.close_journal()


@pytest.fixture
async def beside(pool: Pool, tmp_path: Path) -> Process:
    """A process on this machine, with its journal in the same folder."""
    return await new_process(pool, tmp_path / "journal")


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)
