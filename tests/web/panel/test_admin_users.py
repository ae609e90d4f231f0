"""Users as superusers create and change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.admin import SECRET, entries_of, shown
from tests.support.people import PASSWORD

if TYPE_CHECKING:
    import httpx2

    from tests.support.admin import Admin
    from tests.support.books import Holder
    from tests.support.people import People
    from tokenbalance.database.connections import Pool


async def test_a_user_is_made_with_balance_and_key_in_one_step(
    admin: Admin, pool: Pool, http: httpx2.AsyncClient
) -> None:
    response = await admin.pages.submit(
        "/admin/users/new",
        email="New@Example.com",
        name="New",
        password="a new password",
        balance="1,000",
        key="yes",
        **{"key-name": "laptop", "key-expires": "2099-12-31"},
    )
    page, secret = await shown(admin.pages, response)
    assert "User created." in page.text
    balance = await http.get("/api/balance", headers={"authorization": f"Bearer {secret}"})
    assert balance.json()["available"] == 1000
    user_id, account_id = await pool.fetchrow(
        "SELECT u.id, a.id FROM users u JOIN accounts a ON a.user_id = u.id"
        " WHERE u.email = 'New@Example.com' AND NOT is_superuser"
    ) or (0, 0)
    assert await entries_of(pool, account_id) == [
        ("grant", 1000, 1000, admin.somebody.email, "opening balance")
    ]
    page = await admin.pages.see(f"/admin/users/{user_id}")
    assert "laptop" in page.text
    assert "2100-01-01 00:00 UTC" in page.text
    assert not SECRET.search(page.text)


async def test_a_user_is_made_without_anything_but_an_e_mail(admin: Admin, pool: Pool) -> None:
    response = await admin.pages.submit("/admin/users/new", email="bare@example.com")
    assert response.status_code == 303
    page = await admin.pages.see(response.headers["location"])
    assert "User created." in page.text
    assert await pool.fetchval("SELECT count(*) FROM api_keys WHERE kind = 'key'") == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"email": ""}, "field is required"),
        ({"email": "nobody"}, "exactly one &#39;@&#39;"),
        ({"email": "a b@example.com"}, "not contain spaces"),
        ({"email": "PERSON1@example.com"}, "already exists"),
        ({"name": "x" * 201}, "at most 200 characters"),
        ({"name": "a\0b"}, "control characters"),
        ({"password": "four"}, "at least 8 characters"),
        ({"balance": "-1"}, "at least 0"),
        ({"balance": "1.5"}, "whole number"),
        ({"balance": str(2**53)}, "at most"),
        ({"balance": str(2**70)}, "at most"),
        ({"key-name": "x" * 201}, "at most 200 characters"),
        ({"key-expires": "2020-01-01"}, "today or a later date"),
        ({"key-expires": "tomorrow"}, "must be a date"),
    ],
)
async def test_a_user_who_cannot_be_made_leaves_nothing(
    admin: Admin, pool: Pool, fields: dict[str, str], words: str
) -> None:
    wanted = {"email": "new@example.com", "name": "Kept", "balance": "5", "key": "yes", **fields}
    response = await admin.pages.submit("/admin/users/new", **wanted)
    assert response.status_code == 400
    assert words in response.text
    assert "Nothing was changed" in response.text
    assert wanted["name"] != "Kept" or 'value="Kept"' in response.text
    assert "four" not in response.text
    assert await pool.fetchval("SELECT count(*) FROM users") == 1
    assert await pool.fetchval("SELECT count(*) FROM ledger") == 0


async def test_users_are_found_by_a_part_of_e_mail_or_name(admin: Admin, people: People) -> None:
    ada = await people.create(name="Ada Lovelace", balance=12345)
    await people.create(name="100% Somebody_Else")
    page = await admin.pages.see("/admin/users?search=LOVE")
    assert f"/admin/users/{ada.user_id}" in page.text
    assert "12,345" in page.text
    assert "Somebody_Else" not in page.text
    assert "Somebody_Else" in (await admin.pages.see("/admin/users?search=100%25")).text
    assert "No matching users" in (await admin.pages.see("/admin/users?search=a%25e")).text
    assert "No matching users" in (await admin.pages.see("/admin/users?search=%27--")).text


async def test_a_disabled_user_is_refused_until_enabled(
    admin: Admin, people: People, http: httpx2.AsyncClient, holder: Holder
) -> None:
    here = f"/admin/users/{holder.user_id}"
    for action, status in (("disable", 401), ("enable", 200)):
        response = await admin.pages.submit(f"{here}/{action}")
        assert (response.status_code, response.headers["location"]) == (303, here)
        assert (await http.get("/api/balance", headers=holder.headers)).status_code == status
    somebody = await people.create()
    async with people.signed_in(somebody) as pages:
        await admin.pages.submit(f"/admin/users/{somebody.user_id}/disable")
        assert (await pages.get("/account")).status_code == 303


async def test_superusers_are_made_and_unmade_but_for_the_last(
    admin: Admin, people: People
) -> None:
    other = await people.create()
    there, here = (f"/admin/users/{who.user_id}" for who in (other, admin.somebody))
    async with people.signed_in(other) as pages:
        assert (await pages.get("/admin")).status_code == 403
        await admin.pages.submit(f"{there}/promote")
        assert (await pages.get("/admin")).status_code == 200
        await admin.pages.submit(f"{there}/demote")
        assert (await pages.get("/admin")).status_code == 403
    for action in ("demote", "disable"):
        response = await admin.pages.submit(f"{here}/{action}")
        assert response.status_code == 400
        assert "is the last active superuser" in response.text
        assert "Nothing was changed" in response.text
        assert "Correct the" not in response.text
    assert (await admin.pages.get("/admin")).status_code == 200


async def test_a_new_password_ends_the_sign_ins_of_before(admin: Admin, people: People) -> None:
    other = await people.create()
    here = f"/admin/users/{other.user_id}/password"
    async with people.signed_in(other) as pages:
        assert (await admin.pages.submit(here, password="four")).status_code == 400
        assert (await pages.get("/account")).status_code == 200
        response = await admin.pages.submit(here, password="another password")
        assert response.status_code == 303
        assert (await pages.get("/account")).status_code == 303
        await pages.see("/sign-in")
        old = await pages.submit("/sign-in", email=other.email, password=PASSWORD)
        new = await pages.submit("/sign-in", email=other.email, password="another password")
        assert (old.status_code, new.status_code) == (400, 303)


async def test_ones_own_password_is_only_changed_with_the_one_until_now(
    admin: Admin, people: People
) -> None:
    here = f"/admin/users/{admin.somebody.user_id}"
    page = (await admin.pages.see(here)).text
    assert "/account/profile" in page
    assert f'action="{here}/password"' not in page
    response = await admin.pages.submit(f"{here}/password", password="another password")
    assert response.status_code == 400
    assert "on the page Profile" in response.text
    async with people.signed_in(admin.somebody) as elsewhere:
        assert (await elsewhere.get("/admin")).status_code == 200


async def test_a_user_is_renamed(admin: Admin, people: People) -> None:
    other = await people.create(name="Before")
    here = f"/admin/users/{other.user_id}"
    await admin.pages.submit(f"{here}/name", **{"user-name": "  Ada Lovelace "})
    assert "Ada Lovelace" in (await admin.pages.see(here)).text
    response = await admin.pages.submit(f"{here}/name", **{"user-name": "a\0b"})
    assert response.status_code == 400
