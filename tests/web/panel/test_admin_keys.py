"""API keys as superusers create, find, rotate and revoke them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support.admin import SECRET, shown
from tests.support.books import create_holder
from tests.support.people import NEW_KEY

if TYPE_CHECKING:
    import httpx2

    from tests.support.admin import Admin
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


async def test_keys_are_made_given_a_new_secret_and_revoked(
    admin: Admin, holder: Holder, http: httpx2.AsyncClient
) -> None:
    here = f"/admin/users/{holder.user_id}/keys"

    async def status_of(secret: str) -> int:
        headers = {"authorization": f"Bearer {secret}"}
        return (await http.get("/api/balance", headers=headers)).status_code

    made = await admin.pages.submit(
        here, name="robot", requests_per_minute="5", insufficient_status="402", **NEW_KEY
    )
    _, first = await shown(admin.pages, made)
    key_id = made.headers["location"].split("/")[-2]
    page = await admin.pages.see(f"/admin/users/{holder.user_id}")
    assert f"/keys/{key_id}/rotate" in page.text
    assert "5 requests per minute, status 402 when the balance is too low" in page.text
    rotated = await admin.pages.submit(f"{here}/{key_id}/rotate")
    _, second = await shown(admin.pages, rotated)
    assert [await status_of(secret) for secret in (first, second)] == [401, 200]
    revoked = await admin.pages.submit(f"{here}/{key_id}/revoke")
    assert revoked.headers["location"] == f"/admin/users/{holder.user_id}"
    assert await status_of(second) == 401
    assert (await admin.pages.submit(f"{here}/{key_id}/rotate")).status_code == 404


async def test_reloading_a_secret_shows_it_no_more_and_makes_nothing(
    admin: Admin, holder: Holder, pool: Pool
) -> None:
    keys = f"/admin/users/{holder.user_id}/keys"
    new_user = {"email": "new@example.com", "key": "yes"}
    for path, fields in (
        (keys, NEW_KEY),
        (f"{keys}/{holder.key_id}/rotate", {}),
        ("/admin/users/new", new_user),
    ):
        made = await admin.pages.submit(path, **fields)
        before = await pool.fetch("SELECT id, secret_sha256, revoked_at FROM api_keys ORDER BY id")
        await shown(admin.pages, made)
        for _ in range(2):
            again = await admin.pages.see(made.headers["location"])
            assert not SECRET.search(again.text)
            assert "was shown once" in again.text
            assert made.headers["location"].replace("/secret", "/rotate") in again.text
        after = await pool.fetch("SELECT id, secret_sha256, revoked_at FROM api_keys ORDER BY id")
        assert after == before
    other = await create_holder(pool)
    for user_id, key_id in ((other.user_id, holder.key_id), (holder.user_id, other.key_id)):
        path = f"/admin/users/{user_id}/keys/{key_id}/secret"
        assert (await admin.pages.get(path)).status_code == 404


async def test_a_key_is_changed_on_its_owners_page_alone(
    admin: Admin, holder: Holder, pool: Pool, http: httpx2.AsyncClient
) -> None:
    other = await create_holder(pool)
    for action in ("rotate", "revoke"):
        path = f"/admin/users/{other.user_id}/keys/{holder.key_id}/{action}"
        assert (await admin.pages.submit(path)).status_code == 404
    assert (await http.get("/api/balance", headers=holder.headers)).status_code == 200


async def test_keys_are_found_by_prefix_name_owner_and_state(
    admin: Admin, holder: Holder, pool: Pool
) -> None:
    await pool.execute(
        "INSERT INTO api_keys (account_id, name, prefix, secret_sha256, expires_at, revoked_at)"
        " VALUES ($1, 'old robot', 'tb-abcdef', sha256('a'), now() - interval '1 day', NULL),"
        " ($1, 'gone robot', 'tb-ghijkl', sha256('b'), NULL, now())",
        holder.account_id,
    )

    async def found(query: str) -> set[str]:
        page = await admin.pages.see(f"/admin/keys?{query}")
        return set(re.findall(r"<code>((?:sk-)?tb-[\w-]+)…</code>", page.text))

    mine = (await pool.fetchval("SELECT prefix FROM api_keys WHERE id = $1", holder.key_id)) or ""
    everyone = {mine, "tb-abcdef", "tb-ghijkl"}
    assert await found("") == await found("search=holder") == everyone
    assert await found("search=ABCDEF") == {"tb-abcdef"}
    assert await found("search=gone") == {"tb-ghijkl"}
    assert await found("state=active") == {mine}
    assert (
        await found("state=expired") == await found("state=expired&search=robot") == {"tb-abcdef"}
    )
    assert await found("state=revoked") == {"tb-ghijkl"}
    # Whoever is signed in has a token, which is no key.
    assert await found(f"search={admin.somebody.email}") == set()
    assert (await admin.pages.get("/admin/keys?state=lost")).status_code == 400


async def test_a_key_is_revoked_in_the_list_of_all(
    admin: Admin, holder: Holder, http: httpx2.AsyncClient
) -> None:
    response = await admin.pages.submit(f"/admin/keys/{holder.key_id}/revoke")
    assert response.headers["location"] == "/admin/keys"
    assert (await http.get("/api/balance", headers=holder.headers)).status_code == 401
