"""The product that management routes are asked of, one for each file, and the people who ask."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support import postgres
from tests.support.books import Holder, create_holder
from tests.support.product import serving
from tests.support.upstream import ScriptedUpstream
from tokenbalance.database.connections import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tokenbalance.database.connections import Pool
    from tokenbalance.postgres import EmbeddedPostgres

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class People:
    """One of each kind, each with a balance of 100 and a key."""

    user: Holder
    other: Holder
    disabled: Holder
    superuser: Holder


@pytest.fixture(scope="module")
async def dsn(cluster: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """A migrated database of the file's own."""
    dsn = await postgres.clone(cluster, template)
    yield dsn
    await postgres.drop(cluster, dsn)


@pytest.fixture(scope="module")
async def pool(dsn: str) -> AsyncIterator[Pool]:
    """Connections of the tests' own."""
    async with open_pool(dsn, size=5) as pool:
        yield pool


@pytest.fixture(scope="module")
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """What stands in for api.openai.com."""
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
async def product(dsn: str, upstream: ScriptedUpstream) -> AsyncIterator[str]:
    """The product, served on a socket; its URL without a path."""
    async with serving(dsn, upstream.base_url) as url:
        yield url


@pytest.fixture(scope="module")
async def http(product: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A plain HTTP client of the product."""
    async with httpx2.AsyncClient(base_url=product, timeout=30) as client:
        yield client


@pytest.fixture
async def people(pool: Pool, product: str) -> People:
    """People of the test's own, and nobody slowed down for what other tests did."""
    assert product
    await pool.execute("DELETE FROM sign_in_failures")
    return await create_people(pool)


async def create_people(pool: Pool) -> People:
    """Create one of each kind."""
    people = People(*[await create_holder(pool, 100) for _ in range(4)])
    change = "UPDATE users SET is_active = id <> $1, is_superuser = id = $2 WHERE id IN ($1, $2)"
    await pool.execute(change, people.disabled.user_id, people.superuser.user_id)
    return people


@pytest.fixture
def email() -> str:
    """An address that nobody has yet."""
    return f"Ada{next(_numbers)}@example.com"
