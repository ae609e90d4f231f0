"""Books that must be sound after every test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tokenbalance.books.ledger.audit import audit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


@pytest.fixture
async def holder(pool: Pool) -> AsyncIterator[Holder]:
    """Somebody with 1000 credits, in books that the audit finds sound in the end."""
    yield await create_holder(pool, 1000)
    assert (await audit(pool)).violations == []
