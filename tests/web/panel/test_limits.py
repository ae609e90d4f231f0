"""Limits and budgets on the pages: who sets them, what they say is left, and in which time zone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.async_api import expect

from tests.support.people import NEW_KEY
from tokenbalance.people.limits import LIMITS

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.people import People
    from tests.support.watched_browser import WatchedBrowser
    from tokenbalance.database.connections import Pool

KEY = "SELECT id FROM api_keys WHERE kind = 'key' ORDER BY id DESC LIMIT 1"
OF_KEY = "SELECT name, amount FROM limits WHERE subject LIKE 'key:%' ORDER BY id"


async def test_an_owner_limits_a_key_and_sees_what_is_left(people: People, pool: Pool) -> None:
    async with people.signed_in(await people.create()) as pages:
        await pages.submit("/account/keys", **NEW_KEY, name="laptop", tools="[]")
        key_id = await pool.fetchval(KEY)
        path = f"/account/keys/{key_id}/limits"
        form = await pages.see(path)
        assert 'name="tools" type="text" value="[]"' in form.text
        typed = {"credits_per_day": "1,000", "models": "!gpt-5*, gpt-*", "tools": ""}
        saved = await pages.submit(path, **typed, sub_account_from="user")
        assert (saved.status_code, saved.headers["location"]) == (303, path)
        budget = {"budget-amount": "50", "budget-every": "week", "budget-unit": "tokens"}
        assert (await pages.submit(f"{path}/budgets", **budget)).status_code == 303
        assert [tuple(row) for row in await pool.fetch(OF_KEY)] == [
            ("credits_per_day", 1000),
            ("budget:week", 50),
        ]
        shown = await pages.see("/account")
        assert "Credits per day" in shown.text
        assert "Budget week" in shown.text
        listed = await pages.see("/account/keys")
        assert "1,000 credits per day, models: <bdi>!gpt-5* gpt-*</bdi>" in listed.text
        wrong = await pages.submit(path, models="gpt-*, !gpt-5*", endpoints="chats")
        assert wrong.status_code == 400
        assert "must come before" in wrong.text
        assert 'id="e-endpoints"' in wrong.text
        budget_id = await pool.fetchval("SELECT id FROM limits WHERE name = 'budget:week'")
        removed = await pages.submit(f"{path}/budgets/{budget_id}/remove")
        assert removed.status_code == 303
        assert await pool.fetchval("SELECT count(*) FROM limits") == 1
        assert (await pages.get("/account/keys/99/limits")).status_code == 404


async def test_what_a_superuser_sets_binds_the_owner_of_the_key(
    admin: Admin, people: People, pool: Pool
) -> None:
    somebody = await people.create()
    async with people.signed_in(somebody) as pages:
        await pages.submit("/account/keys", **NEW_KEY, tokens_per_day="500")
        key_id = await pool.fetchval(KEY)
        path = f"/account/keys/{key_id}/limits"
        by_admin = f"/admin/users/{somebody.user_id}/keys/{key_id}/limits"
        await admin.pages.see(by_admin)
        form = {"tokens_per_day": "500", "credits_per_day": "100"}
        assert (await admin.pages.submit(by_admin, **form)).status_code == 303
        looser = await pages.submit(path, tokens_per_day="900", credits_per_day="101")
        assert looser.status_code == 400
        assert "at most 100, which a superuser has set" in looser.text
        # What the superuser's form had left as it was is still the owner's.
        assert (
            await pages.submit(path, tokens_per_day="900", credits_per_day="")
        ).status_code == 303
        assert [tuple(row) for row in await pool.fetch(OF_KEY)] == [
            ("tokens_per_day", 900),
            ("credits_per_day", 100),
        ]
        assert (await pages.get(f"/admin/users/{somebody.user_id}/limits")).status_code == 403


async def test_an_account_is_limited_on_the_page_of_its_user(
    admin: Admin, people: People, browser: WatchedBrowser, pool: Pool
) -> None:
    somebody = await people.create(name="Ada", balance=1000)
    path = f"/admin/users/{somebody.user_id}"
    page = browser.page
    await browser.sign_in(admin.somebody)
    await page.goto(f"{browser.page.url.rsplit('/', 1)[0]}{path}")
    await page.get_by_role("link", name="Limits and budgets of the account").click()
    await page.get_by_label("Credits per day").fill("40")
    await page.get_by_label("Parallel requests").fill("3")
    await page.get_by_label("Time zone").fill("Europe/Berlin")
    await page.get_by_role("button", name="Save limits").click()
    await expect(page.get_by_role("status")).to_contain_text("Limits saved")
    await page.get_by_label("Amount").fill("90")
    await page.get_by_label("Period").select_option("month")
    await page.get_by_label("Budget name").fill("course")
    await page.get_by_role("button", name="Add budget").click()
    await expect(page.locator("#left")).to_contain_text("Budget course")
    await pool.execute(
        "UPDATE limits SET used = 15, window_end = '2999-01-01T23:00Z' WHERE unit = 'credits'"
    )
    async with people.signed_in(somebody) as pages:
        shown = (await pages.see("/account")).text
    assert "all keys" in shown
    assert "as requests end</td>" in shown
    assert "</progress> 25</td>" in shown
    assert "2999-01-02 00:00 Europe/Berlin" in shown


async def test_every_limit_has_a_field(people: People) -> None:
    async with people.signed_in(await people.create()) as pages:
        text = (await pages.see("/account/keys")).text
    assert [name for name in LIMITS if f'name="{name}"' not in text] == []
