"""Fixtures of the pages: people who can sign in, a signed-in client, and a real browser."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import async_playwright

from tests.support.people import People
from tests.support.watched_browser import WatchedBrowser
from tokenbalance.accounts import passwords

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

    from tokenbalance.database.connections import Sessions

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash in a millisecond: nearly every test signs somebody in."""
    cheap = passwords._CONTEXT.copy(  # pyright: ignore[reportUnknownMemberType]
        argon2__time_cost=1, argon2__memory_cost=64
    )
    monkeypatch.setattr(passwords, "_CONTEXT", cheap)


@pytest.fixture
def people(sessions: Sessions, product: str) -> People:
    """Makes users with passwords, and signs them in."""
    return People(sessions, product)


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
