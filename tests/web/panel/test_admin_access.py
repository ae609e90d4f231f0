"""The superusers' pages are for superusers, and their forms for those who were given them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from tokenbalance.web.panel.admin import ROUTES
from tokenbalance.web.panel.page import Page

if TYPE_CHECKING:
    from starlette.routing import Route

    from tests.support.people import People
    from tokenbalance.database.connections import Pool

EVERYTHING = """
SELECT (SELECT array_agg((u.email, u.name, u.is_active, u.is_superuser, u.tags,
                          u.password_hash)::text ORDER BY id) FROM users u),
       (SELECT array_agg(balance ORDER BY id) FROM accounts),
       (SELECT array_agg(id ORDER BY id) FROM ledger),
       (SELECT array_agg((id, secret_sha256, revoked_at)::text ORDER BY id) FROM api_keys
         WHERE kind = 'key')
"""
"""What the forms change."""


def takes(route: Route, method: str) -> bool:
    page = route.app
    assert isinstance(page, Page)
    return (page.get if method == "GET" else page.post) is not None


def address_of(route: Route) -> str:
    ids = defaultdict(lambda: "1", request_id="tb_0", tag="a", team_id="2")
    return route.path.format_map(ids)


PAGES = [address_of(route) for route in ROUTES if takes(route, "GET")]
FORMS = [address_of(route) for route in ROUTES if takes(route, "POST")]
FIELDS = {
    "email": "new@example.com",
    "name": "Somebody Else",
    "user-name": "Somebody Else",
    "add-amount": "100",
    "add-note": "a present",
    "once": "only-once",
    "set-balance": "100",
    "set-note": "a present",
    "overdraft": "5",
    "overdraft-note": "a good customer",
    "password": "another password",
    "amount": "1",
    "note": "a present",
    "key": "yes",
    "scope-inference": "yes",
    "table": "imported@example.com",
    "user-tags": "a b",
    "grant-amount": "5",
    "grant-note": "a present",
    "allowance-amount": "5",
    "allowance-every": "week",
    "requests_per_minute": "60",
    "budget-amount": "5",
    "budget-every": "day",
    "budget-unit": "credits",
    "budget-name": "another",
    "team-name": "Another Team",
}
"""With which every form would do something."""


def test_every_form_is_among_those_that_are_tried() -> None:
    assert len(FORMS) == 41
    assert len(PAGES) == 24


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_not_for_users(people: People, path: str) -> None:
    async with people.signed_in(await people.create()) as pages:
        response = await pages.get(path)
        assert response.status_code == 403
        assert "This requires a superuser." in response.text
    async with people.pages() as pages:
        response = await pages.get(path)
        assert response.headers["location"].startswith("/sign-in?next=%2Fadmin")


@pytest.mark.parametrize("path", FORMS)
async def test_a_form_is_not_taken_from_users_and_strangers(
    people: People, pool: Pool, path: str
) -> None:
    # The first user, whom the addresses name.
    async with people.signed_in(await people.create(balance=10)) as pages:
        await pool.execute(
            "INSERT INTO api_keys (account_id, prefix, secret_sha256)"
            " VALUES (1, 'tb-', sha256('secret'))"
        )
        await pool.execute("UPDATE users SET tags = '{a}'")
        before = await pool.fetchrow(EVERYTHING)
        response = await pages.submit(path, **FIELDS)
        assert response.status_code == 403
    async with people.pages() as pages:
        response = await pages.submit(path, **FIELDS)
        assert response.status_code == 303
        assert response.headers["location"].partition("?")[0] == "/sign-in"
    assert await pool.fetchrow(EVERYTHING) == before


@pytest.mark.parametrize("path", FORMS)
async def test_a_form_is_not_taken_without_its_token_or_from_another_site(
    people: People, pool: Pool, path: str
) -> None:
    async with people.signed_in(await people.create(is_superuser=True)) as pages:
        await pool.execute("UPDATE users SET tags = '{a}'")
        before = await pool.fetchrow(EVERYTHING)
        for without in ({}, {"form-token": ""}, {"form-token": "0" * 64}):
            response = await pages.post(path, data={**FIELDS, **without})
            assert response.status_code == 403
        for header in (
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
        ):
            fields = {"form-token": pages.token, **FIELDS}
            response = await pages.post(path, data=fields, headers=header)
            assert response.status_code == 403
            assert "another site" in response.text
        assert await pool.fetchrow(EVERYTHING) == before


@pytest.mark.parametrize("path", sorted({*FORMS} - {*PAGES}))
async def test_a_get_changes_nothing(people: People, pool: Pool, path: str) -> None:
    async with people.signed_in(await people.create(is_superuser=True)) as pages:
        before = await pool.fetchrow(EVERYTHING)
        response = await pages.get(path, params={"form-token": pages.token, **FIELDS})
        assert response.status_code == 405
        assert response.headers["allow"] == "POST"
        assert await pool.fetchrow(EVERYTHING) == before


async def test_what_is_no_page_is_said_to_be_none_to_superusers_alone(people: People) -> None:
    async with people.signed_in(await people.create(is_superuser=True)) as pages:
        for path in ("/admin/nothing", "/admin/users/0", "/admin/users/x", "/admin/requests/tb_0"):
            assert (await pages.get(path)).status_code == 404, path
        beyond = str(2**63)
        assert (await pages.get(f"/admin/users/{beyond}")).status_code == 404
        assert (await pages.submit(f"/admin/keys/{beyond}/revoke")).status_code == 404
        assert (await pages.submit("/admin/keys/999/revoke")).status_code == 404
    async with people.signed_in(await people.create()) as pages:
        assert (await pages.get("/admin/nothing")).status_code == 403


@pytest.mark.parametrize(
    "query",
    ["after=x", "after=%00", "user=%00", "since=x", "from=x", "until=0001-01-01&since=9999-12-31"],
)
@pytest.mark.parametrize("path", ["ledger", "requests", "ledger.csv", "requests.csv"])
async def test_a_filter_that_cannot_be_read_is_a_400_or_an_empty_list(
    people: People, path: str, query: str
) -> None:
    async with people.signed_in(await people.create(is_superuser=True)) as pages:
        response = await pages.get(f"/admin/{path}?{query}")
        assert response.status_code in {400, 404}
