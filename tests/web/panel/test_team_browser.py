"""A team in a real browser: invited by a link, a key made, and the end of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.async_api import expect

from tests.support.watched_browser import WatchedBrowser
from tests.web.panel.test_browser import SECRET, chat

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.support.people import People


async def test_a_member_joins_by_a_link_makes_a_key_and_is_removed(
    chromium: Browser, browser: WatchedBrowser, people: People, product: str
) -> None:
    owner, member = await people.create(balance=10_000), await people.create()
    page = browser.page
    await browser.sign_in(owner)
    await page.get_by_role("link", name="Teams").click()
    await page.get_by_label("Name").fill("Physics")
    await page.get_by_role("button", name="Create team").click()
    await page.get_by_label("Credits", exact=True).fill("5,000")
    await page.get_by_role("button", name="Move credits").click()
    await expect(page.locator("#balance")).to_contain_text("5,000")
    await page.get_by_role("link", name="Members", exact=True).click()
    await page.get_by_role("button", name="Create invitation").click()
    link = await page.locator("#link").inner_text()

    async with WatchedBrowser.open(chromium, product, java_script_enabled=False) as plain:
        guest = plain.page
        await guest.goto(link)
        await guest.get_by_role("link", name="Sign in").click()
        await guest.get_by_label("E-mail").fill(member.email)
        await guest.get_by_label("Password").fill(member.password)
        await guest.get_by_role("button", name="Sign in").click()
        await guest.get_by_role("button", name="Join team").click()
        await expect(guest.get_by_role("status")).to_contain_text("You have joined the team.")
        await guest.get_by_role("link", name="Keys", exact=True).click()
        await guest.get_by_role("button", name="Create key").click()
        secret = await guest.locator("#secret").inner_text()
        assert SECRET.match(secret)
        assert (await chat(product, secret)).status_code == 200

        await page.get_by_role("link", name="Members", exact=True).click()
        row = page.locator("#list tr", has_text=member.email)
        await expect(row.locator("td.amount")).not_to_have_text("0")
        await row.get_by_role("link", name="Change").click()
        await page.get_by_role("heading", name=member.email).wait_for()
        here = page.url
        await page.set_viewport_size({"width": 390, "height": 800})
        for path in ("", "/keys", "/members", "/projects"):
            await page.goto(here.partition("/members")[0] + path)
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        await page.goto(here)
        await page.get_by_text("Remove", exact=True).click()
        await page.get_by_role("button", name="Remove member").click()
        await expect(page.get_by_role("status")).to_contain_text("Member removed.")
        assert (await chat(product, secret)).status_code == 401
        await guest.goto("/account/teams")
        await expect(guest.locator("#list")).to_contain_text("You belong to no team yet.")
        plain.check()
