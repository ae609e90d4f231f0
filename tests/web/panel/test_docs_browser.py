"""The documentation pages in a real browser: they work, complain of nothing, ask nobody else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
from playwright.async_api import expect

from tests.support import product as products
from tests.support.books import Holder, account_of, create_holder
from tests.support.watched_browser import PATIENCE_MS, WatchedBrowser
from tokenbalance.openai import SURFACE
from tokenbalance.web.docs.reference import operation_id

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi import FastAPI
    from playwright.async_api import Browser, Locator, Page
    from starlette.types import Receive, Scope, Send

    from tokenbalance.database.connections import Pool

CHAT = "POST_chat_completions"


SCROLL_ON = """
scrollY + innerHeight + 2 < document.documentElement.scrollHeight
  ? scrollBy(0, innerHeight / 2) : scrollTo(0, 0)
"""
"""By half a window, from the end to the beginning."""


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


async def authorize(page: Page, holder: Holder) -> None:
    await page.locator(".auth-wrapper .authorize").first.click()
    dialog = page.locator(".dialog-ux")
    await dialog.get_by_role("textbox").fill(holder.secret)
    await dialog.get_by_role("button", name="Apply credentials").click()
    await dialog.get_by_role("button", name="Close", exact=True).click()


async def opened(page: Page, name: str) -> Locator:
    return await unfolded(page, page.locator(f"[id^='operations-'][id$='-{name}']"))


async def unfolded(page: Page, block: Locator) -> Locator:
    """Scroll to an operation, which is not there before, and unfold it."""
    await page.locator(".opblock").first.wait_for()
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while not await block.count():
            await page.evaluate(SCROLL_ON)
            await asyncio.sleep(0.05)
    await block.locator(".opblock-summary-control").click()
    return block


async def tried(block: Locator) -> Locator:
    """Send what the page proposes; gives the answer as it is shown."""
    await block.get_by_role("button", name="Try it out").click()
    await block.get_by_role("button", name="Execute").click()
    return block.locator(".live-responses-table")


async def test_requests_are_tried_out_without_a_key_and_then_with_ones_own(
    browser: WatchedBrowser, pool: Pool, holder: Holder
) -> None:
    """In one visit: to show the page takes a browser five seconds of CPU."""
    browser.expected_statuses.add(401)
    await browser.page.goto("/docs")
    chat = await opened(browser.page, CHAT)
    response = await tried(chat)
    await expect(response.locator(".response-col_status").last).to_contain_text("401")
    await expect(response).to_contain_text('"code": "invalid_api_key"')
    await authorize(browser.page, holder)

    await chat.get_by_role("button", name="Execute").click()
    await expect(response.locator(".response-col_status").last).to_contain_text("200")
    await expect(response).to_contain_text("chat.completion")
    balance = (await account_of(pool, holder)).balance
    assert balance < 1000
    await expect(response).to_contain_text(f"x-tokenbalance-balance: {balance}")

    await chat.locator(".examples-select select").first.select_option("streamed")
    await chat.get_by_role("button", name="Execute").click()
    # To its last event.
    await expect(response).to_contain_text("data: [DONE]")
    await expect(response).to_contain_text("content-type: text/event-stream")
    assert (await account_of(pool, holder)).balance < balance

    # A management route, with the same key.
    block = browser.page.locator(".opblock").filter(
        has=browser.page.locator("[data-path='/api/balance']")
    )
    _ = await unfolded(browser.page, block)
    await expect(await tried(block)).to_contain_text(f'"user": {holder.user_id}')


SHOWN = {
    "POST_chat_completions",  # JSON there and back
    "POST_audio_transcriptions",  # a form with a file
    "POST_audio_speech",  # bytes back
    "GET_models_model",  # free of charge, with a parameter in its path
    "GET_files",  # a list
}


async def test_endpoints_of_every_form_are_shown_with_what_they_cost_and_how_they_fail(
    browser: WatchedBrowser,
) -> None:
    """One of each: unfolding all takes minutes, and what they say is read in `test_pages`."""
    await browser.page.goto("/docs")
    shown = [endpoint for endpoint in SURFACE.described if operation_id(endpoint) in SHOWN]
    assert len(shown) == len(SHOWN)
    for endpoint in shown:
        block = await opened(browser.page, operation_id(endpoint))
        await expect(block).to_contain_text("Metering: ")
        await expect(block).to_contain_text("x-tokenbalance-request-id")
        statuses = await block.locator(".response-col_status").all_inner_texts()
        assert {"200", "401", "503"} <= set(statuses), endpoint.path
        assert ("402" in statuses) is endpoint.charged, endpoint.path
        await block.locator(".opblock-summary-control").click()


async def test_redoc_shows_every_endpoint(browser: WatchedBrowser) -> None:
    await browser.page.goto("/redoc")
    for endpoint in SURFACE.described:
        shown = browser.page.locator(f"[id^='tag/'][id$='/operation/{operation_id(endpoint)}']")
        await expect(shown).to_contain_text(endpoint.summary, timeout=60_000)
        await expect(shown).to_contain_text("Metering: ")


async def test_the_pages_work_below_the_prefix_of_a_reverse_proxy(
    chromium: Browser, dsn: str, tmp_path: Path
) -> None:
    app = products.product_app(dsn, None, data_dir=tmp_path)

    async def below(scope: Scope, receive: Receive, send: Send) -> None:
        given: Scope = {**scope, "root_path": "/proxy"} if scope["type"] == "http" else scope
        await app(given, receive, send)

    async with (
        products._serving(cast("FastAPI", cast("object", below))) as url,
        WatchedBrowser.open(chromium, url) as browser,
    ):
        browser.page.on("request", lambda request: asked.append(request.url.removeprefix(url)))
        asked: list[str] = []
        await browser.page.goto("/proxy/redoc")
        await expect(
            browser.page.get_by_role("heading", name="Chat completion").first
        ).to_be_attached()
        await browser.page.goto("/proxy/docs")
        response = await tried(await opened(browser.page, "livez_livez_get"))
        await expect(response).to_contain_text('"status": "ok"')
        browser.check()
        assert all(path.startswith(("/proxy/", "data:", "blob:")) for path in asked)
        assert "/proxy/livez" in asked
