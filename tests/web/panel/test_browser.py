"""A user's day in a real browser: from the sign-in to a revoked key, also without JavaScript."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx2
from playwright.async_api import expect

from tests.support.chat import CHAT

if TYPE_CHECKING:
    from tests.support.people import People
    from tests.support.watched_browser import WatchedBrowser

SECRET = re.compile(r"^sk-tb-[\w-]{43}$")


async def chat(product: str, secret: str) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=product, timeout=30) as client:
        headers = {"authorization": f"Bearer {secret}"}
        return await client.post("/v1/chat/completions", json=CHAT, headers=headers)


async def test_a_user_makes_a_key_uses_it_and_revokes_it(
    browser: WatchedBrowser, people: People, product: str
) -> None:
    await browser.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = browser.page
    await browser.sign_in(await people.create(name="Ada", balance=10_000))
    await expect(page.locator("#balance")).to_contain_text("10,000")

    await page.get_by_role("link", name="API keys").click()
    await page.get_by_label("Name").fill("my notebook")
    await page.get_by_role("button", name="Create key").click()
    secret = await page.locator("#secret").inner_text()
    assert SECRET.match(secret)
    await page.get_by_role("button", name="Copy", exact=True).first.click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == secret
    for snippet in ("#curl", "#python", "#javascript"):
        await expect(page.locator(snippet)).to_contain_text(f"{product}/v1")
        await expect(page.locator(snippet)).to_contain_text(secret)

    await page.reload()
    await expect(page.get_by_text("was shown once")).to_be_visible()
    assert secret not in await page.content()
    response = await chat(product, secret)
    assert response.status_code == 200
    used = response.json()["usage"]["total_tokens"]

    await page.get_by_role("link", name="Overview").click()
    await expect(page.locator("#balance")).to_contain_text(f"{10_000 - used:,}")
    await expect(page.locator(".chart canvas")).to_be_visible()
    await page.get_by_text("Show numbers").click()
    await expect(page.locator(".numbers tfoot")).to_contain_text(str(used))

    await page.get_by_role("link", name="Requests").click()
    await page.locator("tbody tr a").first.click()
    await expect(page.locator("main")).to_contain_text("settled")
    await expect(page.locator("tfoot")).to_contain_text(str(used))

    await page.get_by_role("link", name="API keys").click()
    assert secret not in await page.content()
    await expect(page.locator("#list tbody tr")).to_have_count(1)
    await page.get_by_text("Revoke", exact=True).click()
    await page.get_by_role("button", name="Revoke key").click()
    await expect(page.get_by_role("status")).to_contain_text("revoked")
    assert (await chat(product, secret)).status_code == 401

    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("status")).to_contain_text("signed out")


async def test_the_same_goes_without_javascript(
    plain_browser: WatchedBrowser, people: People, product: str
) -> None:
    page = plain_browser.page
    await plain_browser.sign_in(await people.create(balance=10_000))
    await expect(page.locator("#balance")).to_contain_text("10,000")
    await page.get_by_role("link", name="API keys").click()
    await page.get_by_role("button", name="Create key").click()
    secret = await page.locator("#secret").inner_text()
    await expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    assert (await chat(product, secret)).status_code == 200

    await page.get_by_role("link", name="Requests").click()
    await page.get_by_label("State").select_option("voided")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.locator("#list")).to_contain_text("No matching requests.")
    await page.get_by_label("State").select_option("settled")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.locator("tbody tr")).to_have_count(1)

    await page.get_by_role("link", name="API keys").click()
    await page.locator("summary", has_text="New secret").click()
    await page.get_by_role("button", name="Create new secret").click()
    renewed = await page.locator("#secret").inner_text()
    assert renewed != secret
    await page.reload()
    await expect(page.get_by_text("was shown once")).to_be_visible()
    assert (await chat(product, secret)).status_code == 401
    assert (await chat(product, renewed)).status_code == 200

    await page.get_by_role("link", name="API keys").click()
    await page.get_by_text("Revoke", exact=True).click()
    await page.get_by_role("button", name="Revoke key").click()
    await expect(page.get_by_role("status")).to_contain_text("revoked")
    assert (await chat(product, renewed)).status_code == 401


async def test_a_filter_replaces_the_list_alone(browser: WatchedBrowser, people: People) -> None:
    page = browser.page
    await browser.sign_in(await people.create())
    await page.goto("/account/requests")
    await expect(page.locator("#list")).to_contain_text("No requests yet.")
    await page.evaluate("document.querySelector('h1').dataset.kept = 'yes'")
    await page.get_by_label("State").select_option("open")
    await expect(page.locator("#list")).to_contain_text("No matching requests.")
    assert await page.locator("h1").get_attribute("data-kept") == "yes"
    assert "state=open" in page.url


async def test_every_page_fits_a_phone_and_is_used_by_keyboard(
    browser: WatchedBrowser, people: People
) -> None:
    page = browser.page
    await browser.sign_in(await people.create(name="N" * 200, balance=2**53 - 1))
    await page.set_viewport_size({"width": 390, "height": 800})
    for path in ("", "/keys", "/requests", "/ledger", "/models", "/profile"):
        await page.goto(f"/account{path}")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        await page.keyboard.press("Tab")
        await expect(page.locator(":focus")).to_have_text("Skip to content")
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_be_focused()
    await page.goto("/account/keys")
    await page.get_by_role("button", name="Create key").click()
    for heading in ("Your new secret", "The secret is not shown again"):
        await expect(page.get_by_role("heading", name=heading)).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), heading
        await page.reload()
    await page.locator("summary", has_text="New secret").click()
    await page.get_by_role("button", name="Create new secret").click()
    await expect(page.get_by_role("status")).to_contain_text("New secret created.")
    await expect(page.locator("#secret")).to_be_visible()
