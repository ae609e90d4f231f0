"""Two processes, an account, and waiters that do not poll."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tests.support.waiters import Process, process
from tokenbalance.books.holds.waiting import Waiters
from tokenbalance.books.ledger.audit import audit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


@pytest.fixture
async def here(dsn: str) -> AsyncIterator[Process]:
    async with process(dsn) as here:
        yield here
        assert (await audit(here.pool)).violations == []


@pytest.fixture
async def there(dsn: str) -> AsyncIterator[Process]:
    async with process(dsn) as there:
        yield there


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 100)


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks into the books, so that a wake within the process is what wakes."""

    async def look(_waiters: Waiters) -> None:
        """See nothing."""

    monkeypatch.setattr(Waiters, "_wake_promising", look)
