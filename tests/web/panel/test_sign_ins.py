"""Where one is signed in, on the pages; and the browsers that are known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.async_api import expect

from tests.support.people import PASSWORD

if TYPE_CHECKING:
    from tests.support.people import People
    from tests.support.watched_browser import WatchedBrowser
    from tokenbalance.database.connections import Pool

BROWSER = "tokenbalance-browser"
PATH = "/account/sign-ins"


def ids(page: str) -> list[str]:
    """Return the tokens that have a button, in order."""
    return re.findall(rf'action="{PATH}/(\d+)/end"', page)


async def test_sign_ins_are_ended_one_by_one_or_everywhere_else(people: People) -> None:
    somebody = await people.create()
    async with (
        people.signed_in(somebody) as one,
        people.signed_in(somebody) as two,
        people.signed_in(somebody) as here,
    ):
        page = (await here.see(PATH)).text
        newest, _, oldest = ids(page)
        assert page.count("this one") == 1
        assert "127.0.0.1" in page
        response = await here.submit(f"{PATH}/{oldest}/end")
        assert (response.status_code, response.headers["location"]) == (303, PATH)
        assert (await one.get("/account")).status_code == 303
        assert (await two.get("/account")).status_code == 200
        assert (await here.submit(f"{PATH}/{oldest}/end")).status_code == 404
        assert (await here.submit(f"{PATH}/end-others")).status_code == 303
        assert (await two.get("/account")).status_code == 303
        assert ids((await here.see(PATH)).text) == [newest]
        response = await here.submit(f"{PATH}/{newest}/end")
        assert response.headers["location"] == "/sign-in"
        assert (await here.get("/account")).status_code == 303


async def test_nobody_ends_the_sign_ins_of_others(people: People) -> None:
    async with (
        people.signed_in(await people.create()) as theirs,
        people.signed_in(await people.create(is_superuser=True)) as mine,
    ):
        (token_id,) = ids((await theirs.see(PATH)).text)
        await mine.see(PATH)
        assert (await mine.submit(f"{PATH}/{token_id}/end")).status_code == 404
        mine.token = ""
        assert (await mine.submit(f"{PATH}/end-others")).status_code == 403
        assert (await theirs.get("/account")).status_code == 200


async def test_a_browser_stays_known_after_signing_out_and_passes_strangers(
    people: People, pool: Pool
) -> None:
    somebody = await people.create()
    async with people.pages() as pages:
        await pages.see("/sign-in")
        response = await pages.submit("/sign-in", email=somebody.email, password=PASSWORD)
        (cookie,) = [
            value for value in response.headers.get_list("set-cookie") if value.startswith(BROWSER)
        ]
        for part in ("HttpOnly", "SameSite=lax", "Max-Age=7776000", "Path=/"):
            assert part in cookie
        await pages.see("/account")
        await pages.submit("/sign-out")
        await pages.see("/sign-in")
        await pages.submit("/sign-in", email=somebody.email, password="wrong")
        async with people.pages() as stranger:
            await stranger.see("/sign-in")
            await stranger.submit("/sign-in", email=somebody.email, password="wrong")
            await pool.execute(
                "UPDATE sign_in_failures SET next_at = now() + interval '1 minute'"
                " WHERE email_sha256 IS NULL OR subject_sha256 <> email_sha256"
            )
            refused = await stranger.submit("/sign-in", email=somebody.email, password=PASSWORD)
            assert refused.status_code == 429
        # Its own count is one of those that were raised.
        refused = await pages.submit("/sign-in", email=somebody.email, password=PASSWORD)
        assert refused.status_code == 429
        await pool.execute(
            "DELETE FROM sign_in_failures WHERE subject_sha256 ="
            " (SELECT sha256(convert_to('browser ' || id, 'UTF8')) FROM known_browsers"
            " WHERE user_id = $1)",
            somebody.user_id,
        )
        entered = await pages.submit("/sign-in", email=somebody.email, password=PASSWORD)
        assert entered.status_code == 303
        await pages.see("/account/profile")
        fields = {"current": PASSWORD, "password": "another one", "repeated": "another one"}
        assert (await pages.submit("/account/profile/password", **fields)).status_code == 303
    known = "SELECT count(*) FROM known_browsers WHERE user_id = $1"
    assert await pool.fetchval(known, somebody.user_id) == 1
    await pool.execute("DELETE FROM sign_in_failures")


async def test_the_rules_are_told_before_a_password_is_chosen(people: People) -> None:
    rules = "At least 8 characters; not a common password, and not your e-mail."
    async with people.signed_in(await people.create()) as pages:
        assert rules in (await pages.see("/account/profile")).text
        fields = {"current": PASSWORD, "password": "iloveyou1", "repeated": "iloveyou1"}
        response = await pages.submit("/account/profile/password", **fields)
        assert (response.status_code, "too common" in response.text) == (400, True)


async def test_a_forgotten_sign_in_is_ended_in_a_browser(
    browser: WatchedBrowser, people: People
) -> None:
    somebody = await people.create()
    async with people.signed_in(somebody) as elsewhere:
        page = browser.page
        await browser.sign_in(somebody)
        await page.get_by_role("link", name="Sign-ins").click()
        rows = page.locator("tbody tr")
        await expect(rows).to_have_count(2)
        await expect(rows.first).to_contain_text("this one")
        await expect(rows.first).to_contain_text("on Linux")
        await rows.nth(1).get_by_text("End", exact=True).click()
        await rows.nth(1).get_by_role("button", name="End sign-in").click()
        await expect(page.get_by_text("Sign-in ended.")).to_be_visible()
        await expect(rows).to_have_count(1)
        assert (await elsewhere.get("/account")).status_code == 303
