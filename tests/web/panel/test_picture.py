"""The picture on the README's front page: the overview of a month, in light and in dark.

    TOKENBALANCE_PICTURES=docs/images python -m pytest tests/web/panel/test_picture.py

writes it; without the variable the page is only looked at. The team's last requests are real ones,
against the sandbox: some are settled, and some are still in progress.
"""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import httpx2
import pytest
from playwright.async_api import expect

from tests.support.month import TEAM, live_through
from tests.support.people import PASSWORD, Somebody
from tests.support.product import serving
from tests.support.watched_browser import WatchedBrowser
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.reports.rollup import RollUp
from tokenbalance.database.connections import open_pool
from tokenbalance.model import CLI
from tokenbalance.people.passwords import hash_password
from tokenbalance.people.users import create_user
from tokenbalance.sandbox.serving import serve_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from playwright.async_api import Browser, Page

    from tokenbalance.database.connections import Sessions

VIEWPORT = {"width": 1280, "height": 905}
BYTES_MAX = 200_000
QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]
IN_PROGRESS = 3
PICTURES: tuple[tuple[Literal["light", "dark"], str], ...] = (
    ("light", "panel.png"),
    ("dark", "panel-dark.png"),
)


@pytest.fixture
async def sandboxed(dsn: str) -> AsyncIterator[str]:
    """The product in front of the sandbox, on the pages' database; its URL."""
    with serve_in_thread() as sandbox:
        async with serving(dsn, sandbox.base_url, on_disconnect="cancel") as url:
            yield url


@asynccontextmanager
async def chatting(url: str, secret: str, model: str) -> AsyncGenerator[httpx2.Response]:
    """Ask, and hang up at the end; the sandbox's model `stall` stops in the middle."""
    body = {"model": model, "messages": QUESTION, "max_completion_tokens": 4_000, "stream": True}
    headers = {"authorization": f"Bearer {secret}"}
    async with (
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as response,
    ):
        assert response.status_code == 200
        yield response


async def live_until_now(dsn: str, sessions: Sessions, url: str) -> Sequence[str]:
    """Write the month, end it with real requests, and prove the books."""
    async with open_pool(dsn, size=2) as pool:
        secrets = await live_through(pool)
        for secret in secrets[:4]:
            async with chatting(url, secret, "gpt-6-luna") as response:
                assert b"[DONE]" in await response.aread()
        assert (await audit(pool)).violations == []
    await RollUp(sessions).catch_up()
    return secrets


async def superuser(sessions: Sessions) -> Somebody:
    email = "ada@example.com"
    async with sessions.begin() as session:
        hashed = await hash_password(PASSWORD)
        user = await create_user(
            session, email=email, password_hash=hashed, is_superuser=True, actor=CLI
        )
    return Somebody(user.id, user.account.id, email)


def keep(name: str, picture: bytes) -> None:
    """Write it where the environment says, if it does."""
    if folder := os.environ.get("TOKENBALANCE_PICTURES"):
        _ = Path(folder, name).write_bytes(picture)


async def picture_of(page: Page) -> bytes:
    """Open the overview, see that it is all there, and take its picture."""
    await page.goto("/admin")
    await expect(page.locator("#now")).to_contain_text(f"{IN_PROGRESS} holds")
    await expect(page.locator("#period")).to_contain_text("failed, not charged")
    top_users = page.get_by_role("region", name="Top users")
    for person in TEAM[:3]:
        await expect(top_users).to_contain_text(person.email)
    await expect(page.locator(".chart canvas")).to_have_count(2)
    return await page.screenshot(animations="disabled")


async def test_the_overview_shows_a_month_of_a_team(
    chromium: Browser, sessions: Sessions, sandboxed: str, dsn: str
) -> None:
    secrets = await live_until_now(dsn, sessions, sandboxed)
    async with (
        AsyncExitStack() as requests,
        WatchedBrowser.open(chromium, sandboxed, viewport=VIEWPORT) as browser,
    ):
        for secret in secrets[:IN_PROGRESS]:
            await requests.enter_async_context(chatting(sandboxed, secret, "stall"))
        await browser.sign_in(await superuser(sessions))
        for scheme, name in PICTURES:
            await browser.page.emulate_media(color_scheme=scheme)
            picture = await picture_of(browser.page)
            assert len(picture) < BYTES_MAX
            keep(name, picture)
        browser.check()
