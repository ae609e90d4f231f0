"""A day of an administrator and of one of the users, in a real browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.support.chat import CHAT
from tests.support.people import PASSWORD, Somebody
from tests.support.upstream import json_response

if TYPE_CHECKING:
    import httpx2
    from playwright.async_api import Locator, Page

    from tests.support.people import People
    from tests.support.upstream import ScriptedUpstream
    from tests.support.watched_browser import WatchedBrowser
    from tokenbalance.model import Json

EMAIL = "ada.lovelace@example.com"
RESPONSE: Json = {
    "object": "chat.completion",
    "choices": [],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}


async def chat_with(http: httpx2.AsyncClient, secret: str) -> int:
    """Send a chat as a client would; gives the status."""
    headers = {"authorization": f"Bearer {secret}"}
    return (await http.post("/v1/chat/completions", headers=headers, json=CHAT)).status_code


def figure(page: Page, label: str) -> Locator:
    """The number below these words."""
    return page.locator(".figure", has=page.get_by_text(label, exact=True)).locator(".value")


async def open_tab(page: Page, name: str) -> None:
    await (
        page.get_by_role("navigation", name="Administration").get_by_role("link", name=name).click()
    )


async def confirm(page: Page, label: str, button: str) -> None:
    """Press a button that asks, and say yes."""
    asked = page.locator(
        "details.ask", has=page.locator("summary", has_text=re.compile(f"^{label}"))
    )
    await expect(asked.get_by_role("button", name=button)).to_be_hidden()
    await asked.locator("summary").click()
    await asked.get_by_role("button", name=button).click()


async def create_user(page: Page) -> str:
    """Make the user with balance and key; gives the key's secret."""
    await open_tab(page, "Users")
    await page.get_by_role("link", name="New user").click()
    await page.get_by_label("E-mail").fill(EMAIL)
    await page.get_by_label("Name", exact=True).fill("Ada Lovelace")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_label("Opening balance").fill("1,000")
    await page.get_by_label("Key name").fill("laptop")
    await page.get_by_role("button", name="Create user").click()
    await expect(page.get_by_role("status")).to_have_text("User created.")
    return await page.locator("#secret").inner_text()


async def find_user(page: Page) -> None:
    """Search as people do: type a part of the e-mail, and wait for the list."""
    await open_tab(page, "Users")
    await page.get_by_label("E-mail or name").press_sequentially("lovel")
    await expect(page.locator("#list tbody tr")).to_have_count(1)
    await expect(page).to_have_url(re.compile("search=lovel"))
    await page.get_by_role("link", name=EMAIL).click()
    await expect(page.get_by_role("heading", name=EMAIL)).to_be_visible()


async def test_the_administrators_day_and_the_users(
    browser: WatchedBrowser,
    people: People,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
) -> None:
    page = browser.page
    await browser.sign_in(await people.create(is_superuser=True))
    await expect(page).to_have_url(re.compile("/admin$"))
    await expect(figure(page, "Outstanding")).to_have_text("0")

    secret = await create_user(page)
    upstream.always(json_response(RESPONSE))
    assert await chat_with(http, secret) == 200

    await open_tab(page, "Overview")
    await expect(figure(page, "Outstanding")).to_have_text("988")
    await expect(figure(page, "Charged")).to_have_text("12")
    charts = page.locator(".chart-card")
    await expect(charts).to_have_count(2)
    await expect(charts.first.locator("canvas")).to_be_visible()
    await expect(charts.first.locator(".legend")).to_contain_text("Input tokens 9")
    await expect(page.get_by_role("region", name="Top users")).to_contain_text(EMAIL)
    await expect(page.get_by_role("region", name="Top models")).to_contain_text("gpt-4o-mini")

    await find_user(page)
    await page.get_by_label("Credits", exact=True).fill("500")
    await page.get_by_label("Reason").first.fill("for the new term")
    await page.get_by_role("button", name="Add credits").click()
    await expect(page.get_by_role("status")).to_have_text(
        "Balance updated. The change is in the ledger."
    )
    await expect(figure(page, "Balance")).to_have_text("1,488")

    await page.get_by_role("region", name="Requests").get_by_role("link").first.click()
    await expect(page.get_by_text("The request has cost 12 credits so far.")).to_be_visible()
    await page.go_back()
    await confirm(page, "Disable", "Disable user")
    await expect(page.get_by_role("status")).to_contain_text("User disabled")
    assert await chat_with(http, secret) == 401
    await confirm(page, "Enable", "Enable user")
    await expect(page.get_by_role("status")).to_contain_text("User enabled.")

    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("status")).to_have_text("You have signed out.")
    await users_day(browser, http)
    assert await chat_with(http, secret) == 200


async def users_day(browser: WatchedBrowser, http: httpx2.AsyncClient) -> None:
    """Read the balance, make a key, and revoke it."""
    page = browser.page
    await browser.sign_in(Somebody(0, 0, EMAIL))
    await expect(page).to_have_url(re.compile("/account$"))
    await expect(page.get_by_role("link", name="Administration")).to_have_count(0)
    await expect(figure(page, "Balance")).to_have_text("1,488")
    await page.get_by_role("link", name="API keys").click()
    await page.get_by_label("Name").fill("phone")
    await page.get_by_role("button", name="Create key").click()
    secret = await page.locator("#secret").inner_text()
    assert await chat_with(http, secret) == 200
    await page.get_by_role("link", name="Done").click()
    await expect(page.get_by_text(secret)).to_have_count(0)
    row = page.get_by_role("row", name="phone")
    await row.get_by_text("Revoke", exact=True).click()
    await row.get_by_role("button", name="Revoke key").click()
    await expect(page.get_by_role("status")).to_contain_text("Key revoked.")
    assert await chat_with(http, secret) == 401


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_page_is_wider_than_a_phone(
    browser: WatchedBrowser, people: People, scheme: str
) -> None:
    page = browser.page
    admin = await people.create(name="x" * 200, balance=2**50, is_superuser=True)
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await page.set_viewport_size({"width": 390, "height": 844})
    await browser.sign_in(admin)
    for path in (
        "",
        "/users",
        "/users/new",
        f"/users/{admin.user_id}",
        "/keys",
        "/ledger",
        "/requests",
        "/rates",
        "/books?verify=yes",
    ):
        await page.goto(f"/admin{path}")
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, path


async def test_a_user_is_made_and_disabled_without_scripts(
    plain_browser: WatchedBrowser, people: People
) -> None:
    page = plain_browser.page
    await plain_browser.sign_in(await people.create(is_superuser=True))
    await create_user(page)
    await page.get_by_role("link", name="Done").click()
    await confirm(page, "Disable", "Disable user")
    await expect(page.get_by_role("status")).to_contain_text("User disabled")
    await open_tab(page, "Users")
    await page.get_by_label("E-mail or name").fill("ada")
    await page.get_by_role("button", name="Search").click()
    await expect(page.locator("#list tbody tr")).to_have_count(1)
    await expect(page.locator("#list tbody tr")).to_contain_text("disabled")
