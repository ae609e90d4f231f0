"""Fixtures of the pages: people who can sign in, a signed-in client, and a real browser.

Pages keep nothing but what is in the database, so one product shows them to all tests of a run, and
each test gets the database empty.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import async_playwright

from tests.support import postgres
from tests.support.admin import Admin
from tests.support.books import create_holder
from tests.support.people import People
from tests.support.product import serving
from tests.support.upstream import ScriptedUpstream
from tests.support.watched_browser import WatchedBrowser
from tokenbalance.database.connections import open_sessions
from tokenbalance.people import hashing, passwords

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import Browser

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.postgres import EmbeddedPostgres

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NEVER_S = 3600.0
"""The shared product sweeps nothing up in which a test left its traces."""


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash in a millisecond: nearly every test signs somebody in."""
    cheap = hashing._context().copy(  # pyright: ignore[reportUnknownMemberType] - without types
        argon2__time_cost=1, argon2__memory_cost=64
    )
    monkeypatch.setattr(hashing, "_context", lambda: cheap)
    monkeypatch.setattr(passwords, "hash_secret", hashing.hash_here)
    monkeypatch.setattr(passwords, "verify_secret", hashing.verify_here)


@pytest.fixture(scope="session")
async def shared_dsn(cluster: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """A migrated database of the pages' own."""
    dsn = await postgres.clone(cluster, template)
    yield dsn
    await postgres.drop(cluster, dsn)


@pytest.fixture(scope="session")
async def shared_sessions(shared_dsn: str) -> AsyncIterator[Sessions]:
    """Sessions that have compiled their statements before."""
    async with open_sessions(shared_dsn) as sessions:
        yield sessions


@pytest.fixture(scope="session")
async def shared_upstream() -> AsyncIterator[ScriptedUpstream]:
    """What stands in for api.openai.com."""
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="session")
async def shared_product(shared_dsn: str, shared_upstream: ScriptedUpstream) -> AsyncIterator[str]:
    """The product, served on a socket; its URL without a path."""
    async with serving(shared_dsn, shared_upstream.base_url, sweep_s=NEVER_S) as url:
        yield url


@pytest.fixture
async def dsn(shared_dsn: str) -> str:
    """The database, empty."""
    await postgres.empty(shared_dsn)
    return shared_dsn


@pytest.fixture
def sessions(dsn: str, shared_sessions: Sessions) -> Sessions:
    """Sessions on the empty database."""
    assert dsn
    return shared_sessions


@pytest.fixture
def upstream(shared_upstream: ScriptedUpstream) -> Iterator[ScriptedUpstream]:
    """The upstream, to which nothing was said yet."""
    yield shared_upstream
    shared_upstream.forget()


@pytest.fixture
def product(dsn: str, upstream: ScriptedUpstream, shared_product: str) -> str:
    """The product, on the empty database."""
    assert dsn
    assert upstream.requests == []
    return shared_product


@pytest.fixture
def people(sessions: Sessions, product: str) -> People:
    """Makes users with passwords, and signs them in."""
    return People(sessions, product)


@pytest.fixture
async def admin(people: People) -> AsyncIterator[Admin]:
    """A superuser who is signed in."""
    somebody = await people.create(is_superuser=True)
    async with people.signed_in(somebody) as pages:
        yield Admin(somebody, pages)


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    """An ordinary user with 1,000 credits and a key."""
    return await create_holder(pool, 1000)


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One chromium for the run."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium: install one, or name it in CHROMIUM")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
async def browser(chromium: Browser, product: str) -> AsyncIterator[WatchedBrowser]:
    """A browser that has never been here; what it complains of fails the test at its end."""
    async with WatchedBrowser.open(chromium, product) as browser:
        yield browser
        browser.check()


@pytest.fixture
async def plain_browser(chromium: Browser, product: str) -> AsyncIterator[WatchedBrowser]:
    """The same without JavaScript."""
    async with WatchedBrowser.open(chromium, product, java_script_enabled=False) as browser:
        yield browser
        browser.check()
