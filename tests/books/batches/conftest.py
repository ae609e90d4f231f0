"""A book, three accounts, and a note of the statements that are sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.batches import NAMES
from tests.support.books import (
    create_holder,
)
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


@pytest.fixture
async def book(pool: Pool) -> AsyncIterator[Book]:
    """A book that is sound after each of these tests."""
    yield Book(pool)
    assert (await audit(pool)).violations == []


@pytest.fixture
async def holders(pool: Pool) -> list[Holder]:
    return [await create_holder(pool, 1000) for _ in range(3)]


@pytest.fixture
def sent(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the statements that were sent."""
    names: list[str] = []

    def noting(run: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def note(statement: str, *arguments: object, **named: float) -> object:
            if statement in NAMES:
                names.append(NAMES[statement])
            return await run(statement, *arguments, **named)

        return note

    for method in ("fetch", "fetchrow", "execute"):
        monkeypatch.setattr(pool, method, noting(getattr(pool, method)))
    return names
