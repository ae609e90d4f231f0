"""Imports, links of new users, and tags, on the pages."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import unquote

from playwright.async_api import expect

from tests.support.admin import hidden
from tests.support.people import PASSWORD
from tests.support.security_log import events_said
from tokenbalance.events import security
from tokenbalance.people import attempts

if TYPE_CHECKING:
    import httpx2
    import pytest

    from tests.support.admin import Admin
    from tests.support.people import People
    from tests.support.watched_browser import WatchedBrowser
    from tokenbalance.database.connections import Pool

PATH = "/admin/users/import"
TABLE = "email\tname\r\nann@example.com\tAnn\r\nbob@example.com\tBob & Co\r\n"
FORM = {
    "table": TABLE,
    "gives": "links",
    "existing": "refuse",
    "all-tag": "cs101",
    "all-credits": "20,000",
    "all-parallel_requests": "3",
}
LINK = re.compile(r"(/welcome/[\w-]{43})")


async def users(pool: Pool) -> int:
    return await pool.fetchval("SELECT count(*) FROM users WHERE NOT is_superuser")


async def imported(admin: Admin) -> httpx2.Response:
    """Check a table, and run what was checked."""
    await admin.pages.see(PATH)
    plan = await admin.pages.submit(PATH, **FORM)
    assert plan.status_code == 200, plan.text
    fields = {name: unescape(hidden(plan, name)) for name in (*FORM, "once")}
    assert fields["table"].split() == TABLE.split()
    return await admin.pages.submit(f"{PATH}/run", **fields)


async def test_a_table_is_checked_and_imported_and_its_links_are_shown_once(
    admin: Admin, people: People, pool: Pool
) -> None:
    await admin.pages.see(PATH)
    plan = await admin.pages.submit(PATH, **FORM)
    assert "2 users will be created" in plan.text
    assert "40,000 credits" in plan.text
    assert await users(pool) == 0
    result = await imported(admin)
    assert "2 users created" in result.text
    assert result.headers["cache-control"] == "no-store"
    file = unquote(hidden_link(result))
    assert file.splitlines()[0] == "email,name,link"
    links = LINK.findall(file)
    assert len(links) == 2
    again = await admin.pages.submit(
        f"{PATH}/run", **FORM, once=await pool.fetchval("SELECT idempotency_key FROM user_imports")
    )
    assert again.status_code == 400
    assert "carried out before" in again.text
    assert not LINK.search(again.text)
    rows = await pool.fetch(
        "SELECT email, users.name, balance, tags, limits"
        " FROM users JOIN accounts ON user_id = users.id"
        " WHERE NOT is_superuser ORDER BY users.id"
    )
    assert [tuple(row) for row in rows] == [
        ("ann@example.com", "Ann", 20_000, ["cs101"], '{"parallel_requests": 3}'),
        ("bob@example.com", "Bob & Co", 20_000, ["cs101"], '{"parallel_requests": 3}'),
    ]
    async with people.pages() as pages:
        await pages.see(links[1])
        done = await pages.submit(links[1], password=PASSWORD, repeated=PASSWORD)
        assert (done.status_code, done.headers["location"]) == (303, "/account")
        assert "bob@example.com" in (await pages.see("/account")).text


def hidden_link(page: httpx2.Response) -> str:
    (link,) = re.findall(r'href="data:text/csv;charset=utf-8,([^"]*)"', page.text)
    return unescape(link)


async def test_errors_are_shown_by_line_and_nothing_is_created(admin: Admin, pool: Pool) -> None:
    await admin.pages.see(PATH)
    wrong = {**FORM, "table": "email,credits\nann@example.com,-1\n<b>,5\n"}
    for path, status in ((PATH, 200), (f"{PATH}/run", 400)):
        response = await admin.pages.submit(path, **wrong, once="once")
        assert response.status_code == status
        assert "Correct 2 errors" in response.text
        assert "must be a whole number" in response.text
        assert "<b>" not in response.text
    assert await users(pool) == 0


async def test_a_link_works_once_and_only_while_its_user_has_no_password(
    admin: Admin,
    people: People,
    pool: Pool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("INFO")
    # However many lines other tests have had.
    monkeypatch.setattr(security, "refusals", security.Refusals())
    first, second = LINK.findall(unquote(hidden_link(await imported(admin))))
    async with people.pages() as pages:
        await pages.see(first)
        short = await pages.submit(first, password="a", repeated="a")
        other = await pages.submit(first, password=PASSWORD, repeated="b")
        assert (short.status_code, other.status_code) == (400, 400)
        assert (await pages.submit(first, password=PASSWORD, repeated=PASSWORD)).status_code == 303
    assert "user.password_set" in events_said(caplog)
    await pool.execute("UPDATE users SET is_active = false WHERE email = 'bob@example.com'")
    unknown = second[:-1] + ("a" if second[-1] != "a" else "b")
    async with people.pages() as pages:
        told = set[str]()
        for link in (first, second, unknown, "/welcome/short", f"/welcome/{'é' * 43}"):
            response = await pages.get(link)
            assert response.status_code == 404, link
            told.add(re.sub(r"[\w-]*form-token.*", "", response.text))
        assert len(told) == 1
        await pages.see("/sign-in")
        used = await pages.submit(first, password=PASSWORD, repeated=PASSWORD)
        assert used.status_code == 404
        forged = await pages.post(second, data={"password": PASSWORD})
        assert forged.status_code == 403
    assert "form.refused" in events_said(caplog)
    said = [str(vars(record)) for record in caplog.records if record.name != "httpx2"]
    assert not [line for line in said if first[9:] in line or second[9:] in line]
    await pool.execute("UPDATE users SET is_active = true")
    async with people.pages() as pages:
        assert (await pages.get(second)).status_code == 200
        await pool.execute("UPDATE welcome_links SET expires_at = now()")
        assert (await pages.get(second)).status_code == 404
        await pool.execute("UPDATE welcome_links SET expires_at = now() + interval '1 day'")
        await pool.execute("UPDATE users SET password_hash = 'x' WHERE password_hash IS NULL")
        assert (await pages.get(second)).status_code == 404


async def test_wrong_links_slow_an_address_down_and_right_ones_do_not(
    admin: Admin, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "ADDRESS_FREE", 2)
    monkeypatch.setattr(attempts, "_FIRST_WAIT_S", 600)
    monkeypatch.setattr(attempts, "WAIT_S_MAX", 600)
    right, _ = LINK.findall(unquote(hidden_link(await imported(admin))))
    async with people.pages() as pages:
        for _ in range(4):
            assert (await pages.get(right)).status_code == 200
        for status in (404, 404, 429):
            response = await pages.get(f"/welcome/{'x' * 43}")
            assert response.status_code == status
        assert 0 < int(response.headers["retry-after"]) <= 600
        assert (await pages.get(right)).status_code == 429


async def test_everybody_with_a_tag_is_credited_disabled_and_enabled(
    admin: Admin, people: People, pool: Pool
) -> None:
    one, other = await people.create(balance=5), await people.create()
    for somebody in (one, admin.somebody):
        await admin.pages.see(f"/admin/users/{somebody.user_id}")
        path = f"/admin/users/{somebody.user_id}/tags"
        wrong = await admin.pages.submit(path, **{"user-tags": "ok -wrong"})
        assert (wrong.status_code, "A tag must have" in wrong.text) == (400, True)
        assert (await admin.pages.submit(path, **{"user-tags": "CS101, b"})).status_code == 303
    listed = await admin.pages.see("/admin/users?tag=cs101")
    assert one.email in listed.text
    assert other.email not in listed.text
    assert "Everybody with the tag cs101" in listed.text
    fields = {"amount": "1,000", "note": "week 3", "once": hidden(listed, "once")}
    for _ in range(2):
        done = await admin.pages.submit("/admin/tags/cs101/credits?tag=cs101", **fields)
        assert done.headers["location"] == "/admin/users?tag=cs101"
    again = await admin.pages.submit(
        "/admin/tags/cs101/credits?tag=cs101", **{**fields, "amount": "0"}
    )
    assert (again.status_code, "at least 1" in again.text) == (400, True)
    balance = "SELECT balance FROM accounts WHERE user_id = $1"
    assert await pool.fetchval(balance, one.user_id) == 1005
    assert await pool.fetchval(balance, other.user_id) == 0
    for action, active in (("disable", False), ("enable", True)):
        assert (await admin.pages.submit(f"/admin/tags/cs101/{action}")).status_code == 303
        is_active = await pool.fetchval("SELECT is_active FROM users WHERE id = $1", one.user_id)
        assert is_active is active
    assert (await admin.pages.submit("/admin/tags/nobody/disable")).status_code == 404
    usage = await admin.pages.get("/admin/tags/cs101/usage.csv")
    assert usage.text.startswith("created_at,request_id,user")


async def test_a_class_is_imported_in_a_browser(browser: WatchedBrowser, people: People) -> None:
    page = browser.page
    await browser.sign_in(await people.create(is_superuser=True))
    await page.goto("/admin/users")
    await page.get_by_role("link", name="Import users").click()
    await page.get_by_label("Table").fill("email;credits\nann@example.com;5\nann@example.com;x\n")
    await page.get_by_role("button", name="Check").click()
    await expect(page.locator("#errors")).to_contain_text("is on line 2 already")
    await page.get_by_label("Table").fill("ann@example.com\nbob@example.com\n")
    await page.get_by_label("Tags").fill("cs101")
    await page.get_by_label("Credits").fill("20,000")
    await page.get_by_role("button", name="Check").click()
    await expect(page.locator("#plan")).to_contain_text("2 users will be created")
    await page.get_by_role("button", name="Create 2 users").click()
    async with page.expect_download() as saving:
        await page.get_by_role("link", name="Save as CSV").click()
    saved = await (await saving.value).path()
    lines = saved.read_text("utf-8").splitlines()
    assert lines[0] == "email,name,key"
    assert re.fullmatch(r"ann@example\.com,,sk-tb-[\w-]{43}", lines[1])
    await page.get_by_role("link", name="Done").click()
    await page.get_by_label("Tag").select_option("cs101")
    await expect(page.locator("#list tbody tr")).to_have_count(2)
    await page.get_by_label("Credits for each user").fill("5,000")
    await page.get_by_label("Reason").fill("week 3")
    await page.get_by_role("button", name="Add credits to all").click()
    await expect(page.get_by_role("status")).to_contain_text("Credits added to everybody")
    await expect(page.locator("#list tbody tr").first).to_contain_text("25,000")
    await page.get_by_text("Disable all", exact=True).click()
    await page.get_by_role("button", name="Disable all with this tag").click()
    await expect(page.locator("#list tbody tr").first).to_contain_text("disabled")
