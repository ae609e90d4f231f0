"""A book and an account."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import (
    create_holder,
)
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


@pytest.fixture
async def book(pool: Pool) -> AsyncIterator[Book]:
    """A book that is sound after each of these tests."""
    yield Book(pool)
    assert (await audit(pool)).violations == []


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 100)
