"""Keys on the pages: what they may be used for, who made them, and what ends with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tokenbalance.people.keys import create_key

if TYPE_CHECKING:
    import httpx2

    from tests.support.admin import Admin
    from tests.support.people import People
    from tests.support.watched_browser import WatchedBrowser
    from tokenbalance.database.connections import Pool, Sessions

SCOPES = "SELECT scopes FROM api_keys WHERE kind = 'key' ORDER BY id DESC LIMIT 1"
WORKING = "SELECT count(*) FROM api_keys WHERE revoked_at IS NULL AND kind = $1"


async def make_key(
    sessions: Sessions, account_id: int, by_key_id: int | None = None, name: str = ""
) -> int:
    scopes = None if by_key_id else ["inference", "manage"]
    async with sessions.begin() as session:
        key, _ = await create_key(
            session, account_id, name=name, scopes=scopes, by_key_id=by_key_id
        )
        return key.id


@pytest.mark.parametrize("scopes", [["inference"], ["read", "manage"]])
async def test_a_key_has_the_scopes_that_were_checked(
    people: People, pool: Pool, scopes: list[str]
) -> None:
    async with people.signed_in(await people.create()) as pages:
        form = await pages.see("/account/keys")
        assert 'name="scope-inference" value="yes" checked' in form.text
        assert form.text.count(" checked") == 1
        made = await pages.submit("/account/keys", **{f"scope-{scope}": "yes" for scope in scopes})
        assert made.status_code == 303
        secret = await pages.see(made.headers["location"])
        # What a key cannot do is not suggested.
        assert ("Try it" in secret.text) is ("inference" in scopes)
        listed = await pages.see("/account/keys")
    assert await pool.fetchval(SCOPES) == scopes
    assert f'<span class="hint">{", ".join(scopes)}</span>' in listed.text


async def test_scopes_that_were_checked_are_not_lost_by_an_error(people: People) -> None:
    async with people.signed_in(await people.create()) as pages:
        fields = {"scope-read": "yes", "credits_total": "none"}
        response = await pages.submit("/account/keys", **fields)
    assert 'name="scope-read" value="yes" checked' in response.text
    assert 'name="scope-inference" value="yes">' in response.text


async def test_who_made_a_key_and_what_ends_with_it_is_shown_and_told(
    admin: Admin, people: People, sessions: Sessions, pool: Pool
) -> None:
    user = await people.create()
    key_id = await make_key(sessions, admin.somebody.account_id, name="script")
    _, child = [await make_key(sessions, user.account_id, key_id) for _ in range(2)]
    await make_key(sessions, user.account_id, child)
    async with people.signed_in(user) as pages:
        own = await pages.see("/account/keys")
    user_page = await admin.pages.see(f"/admin/users/{user.user_id}")
    everybody = await admin.pages.see("/admin/keys")
    made = f"made with <bdi>script</bdi> by <bdi>{admin.somebody.email}</bdi>"
    for page in (own, user_page, everybody):
        assert page.text.count(made) == 2
        assert "stops working immediately, and so does 1 key made with it." in page.text
        assert '<button class="danger">Revoke 2 keys</button>' in page.text
    assert "and so do 3 keys made with it." in everybody.text
    response = await admin.pages.submit(f"/admin/keys/{key_id}/revoke")
    assert response.status_code == 303
    assert "Key revoked, and 3 keys made with it." in (await admin.pages.see("/admin/keys")).text
    assert "3 keys made with it" not in (await admin.pages.see("/admin/keys")).text
    assert await pool.fetchval(WORKING, "key") == 0


async def test_one_key_alone_is_revoked_without_a_number(
    people: People, sessions: Sessions
) -> None:
    user = await people.create()
    key_id = await make_key(sessions, user.account_id)
    async with people.signed_in(user) as pages:
        assert "stops working immediately. This" in (await pages.see("/account/keys")).text
        await pages.submit(f"/account/keys/{key_id}/revoke")
        told = (await pages.see("/account/keys")).text
    assert "Key revoked. Requests that use it are now refused." in told


async def test_one_revokes_all_ones_keys_and_stays_signed_in(
    people: People, sessions: Sessions, pool: Pool
) -> None:
    user, other = await people.create(), await people.create()
    for account_id in (user.account_id, user.account_id, other.account_id):
        await make_key(sessions, account_id)
    async with people.signed_in(user) as pages, people.signed_in(user) as elsewhere:
        await pages.submit("/account/keys/revoke-all")
        assert "2 keys revoked." in (await pages.see("/account/keys")).text
        assert [await pool.fetchval(WORKING, kind) for kind in ("key", "sign-in")] == [1, 2]
        await pages.submit("/account/keys/revoke-all", tokens="yes")
        assert "0 keys revoked." in (await pages.see("/account/keys")).text
        assert (await elsewhere.get("/account")).status_code == 303


async def test_a_superuser_revokes_all_keys_of_a_user(
    admin: Admin, people: People, sessions: Sessions, http: httpx2.AsyncClient, pool: Pool
) -> None:
    user, holder = await people.create(), await create_holder(pool)
    await make_key(sessions, user.account_id)
    async with people.signed_in(user) as pages:
        path = f"/admin/users/{user.user_id}/keys/revoke-all"
        await admin.pages.submit(path)
        page = await admin.pages.see(f"/admin/users/{user.user_id}")
        assert "1 key revoked." in page.text
        await pages.see("/account")
        await admin.pages.submit(path, tokens="yes")
        assert (await pages.get("/account")).status_code == 303
    await admin.pages.see("/admin")
    assert (await http.get("/api/balance", headers=holder.headers)).status_code == 200


async def test_a_notice_says_a_number_and_nothing_else_from_the_browser(people: People) -> None:
    async with people.signed_in(await people.create()) as pages:
        for kept, told in (
            ("keys-revoked.5", "5 keys revoked."),
            ("keys-revoked.<b>", "0 keys revoked."),
            ("keys-revoked.-1", "0 keys revoked."),
            ("keys-revoked.\u00b2", "0 keys revoked."),
        ):
            headers = {"cookie": f"tokenbalance={pages.cookies['tokenbalance']}; "}
            headers["cookie"] += f"tokenbalance-notice={kept}"
            page = await pages.get("/account", headers={k: v.encode() for k, v in headers.items()})  # pyright: ignore[reportArgumentType] - bytes beyond ASCII
            assert told in page.text
            assert "<b>" not in page.text


async def test_a_key_for_managing_is_made_and_all_keys_are_revoked_in_a_browser(
    browser: WatchedBrowser, people: People, pool: Pool
) -> None:
    page = browser.page
    browser.expected_statuses.add(400)
    await browser.sign_in(await people.create())
    await page.goto("/account/keys")
    uses = page.get_by_role("group", name="Use")
    await uses.get_by_label("Inference").uncheck()
    await page.get_by_role("button", name="Create key").click()
    assert "Choose at least one." in await page.inner_text("fieldset")
    await uses.get_by_label("Manage").check()
    await page.get_by_role("button", name="Create key").click()
    await page.get_by_text("Copy the secret now").wait_for()
    assert await pool.fetchval(SCOPES) == ["manage"]
    await page.goto("/account/keys")
    await page.locator("summary", has_text="Revoke all keys").click()
    await page.get_by_role("button", name="Revoke all keys").click()
    await page.get_by_text("1 key revoked.").wait_for()
    assert await pool.fetchval(WORKING, "key") == 0
