"""Signing in and out on the pages, and where somebody is led."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.people import PASSWORD

if TYPE_CHECKING:
    from tests.support.people import People
    from tokenbalance.database.connections import Pool

FOREIGN = [
    "//evil.example/",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example/",
    "javascript:alert(1)",
    "/\t/evil.example",
    "evil.example",
    "///evil.example",
    "/account\r\nset-cookie: a=b",
]


async def test_the_bare_address_leads_strangers_to_the_sign_in(people: People) -> None:
    async with people.pages() as pages:
        response = await pages.get("/")
        assert (response.status_code, response.headers["location"]) == (303, "/sign-in?next=%2F")
        assert "Sign in" in (await pages.see("/sign-in")).text


@pytest.mark.parametrize(("is_superuser", "home"), [(False, "/account"), (True, "/admin")])
async def test_the_bare_address_leads_everybody_to_their_own(
    people: People, *, is_superuser: bool, home: str
) -> None:
    async with people.signed_in(await people.create(is_superuser=is_superuser)) as pages:
        assert (await pages.get("/")).headers["location"] == home
        assert (await pages.get("/sign-in")).headers["location"] == home


async def test_a_page_is_shown_after_the_sign_in_that_it_asked_for(people: People) -> None:
    somebody = await people.create()
    async with people.pages() as pages:
        response = await pages.get("/account/requests?state=open")
        assert response.headers["location"] == "/sign-in?next=%2Faccount%2Frequests%3Fstate%3Dopen"
        page = await pages.see(response.headers["location"])
        assert 'name="next" value="/account/requests?state=open"' in page.text
        response = await pages.submit(
            "/sign-in",
            email=somebody.email,
            password=PASSWORD,
            next="/account/requests?state=open",
        )
        assert response.headers["location"] == "/account/requests?state=open"


async def test_nobody_is_led_to_another_site(people: People) -> None:
    somebody = await people.create()
    for path in FOREIGN:
        async with people.pages() as pages:
            page = await pages.get("/sign-in", params={"next": path})
            assert 'name="next" value=""' in page.text, path
            await pages.see("/sign-in")
            response = await pages.submit(
                "/sign-in", email=somebody.email, password=PASSWORD, next=path
            )
            assert (response.status_code, response.headers["location"]) == (303, "/"), path


async def test_a_wrong_password_is_told_at_the_field_and_not_repeated(people: People) -> None:
    somebody = await people.create()
    async with people.pages() as pages:
        await pages.see("/sign-in")
        response = await pages.submit(
            "/sign-in", email=somebody.email, password="not-the-password", next="/account"
        )
        assert response.status_code == 400
        assert f'value="{somebody.email}"' in response.text
        assert "Wrong e-mail or password" in response.text
        assert 'name="next" value="/account"' in response.text
        assert "not-the-password" not in response.text


async def test_who_fails_too_often_is_asked_for_patience(people: People) -> None:
    somebody = await people.create()
    async with people.pages() as pages:
        await pages.see("/sign-in")
        response = await pages.submit("/sign-in", email=somebody.email, password="wrong")
        for _ in range(20):
            if response.status_code == 400:
                response = await pages.submit("/sign-in", email=somebody.email, password="wrong")
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) >= 1
        assert "Too many failed attempts" in response.text
        assert "text/html" in response.headers["content-type"]


async def test_each_sign_in_has_a_session_of_its_own(people: People) -> None:
    somebody = await people.create()
    async with people.signed_in(somebody) as one, people.signed_in(somebody) as other:
        first, second = one.cookies["tokenbalance"], other.cookies["tokenbalance"]
        assert first != second


async def test_a_session_that_was_planted_is_never_taken_over(people: People) -> None:
    somebody = await people.create()
    async with people.pages() as pages:
        pages.cookies.set("tokenbalance", "planted-by-somebody-else")
        await pages.see("/sign-in")
        response = await pages.submit("/sign-in", email=somebody.email, password=PASSWORD)
        assert "planted" not in response.headers["set-cookie"]
    async with people.pages(cookies={"tokenbalance": "planted-by-somebody-else"}) as pages:
        assert (await pages.get("/account")).headers["location"].startswith("/sign-in")


async def test_signing_out_ends_the_session_everywhere(people: People) -> None:
    async with people.signed_in(await people.create()) as pages:
        secret = pages.cookies["tokenbalance"]
        response = await pages.submit("/sign-out")
        assert (response.status_code, response.headers["location"]) == (303, "/sign-in")
        assert "tokenbalance" not in pages.cookies
        assert "You have signed out." in (await pages.see("/sign-in")).text
        assert "You have signed out." not in (await pages.see("/sign-in")).text
        pages.cookies.set("tokenbalance", secret)
        assert (await pages.get("/account")).status_code == 303


async def test_an_api_key_is_no_session(people: People, pool: Pool) -> None:
    async with people.signed_in(await people.create()) as pages:
        secret = pages.cookies["tokenbalance"]
        await pool.execute("UPDATE api_keys SET kind = 'key'")
        assert (await pages.get("/account")).headers["location"].startswith("/sign-in")
        bearer = {"authorization": f"Bearer {secret}"}
    async with people.pages(headers=bearer) as pages:
        assert (await pages.get("/account")).headers["location"].startswith("/sign-in")


async def test_the_api_takes_no_cookie(people: People) -> None:
    async with people.signed_in(await people.create()) as pages:
        assert (await pages.get("/api/balance")).status_code == 401
        assert (await pages.get("/v1/models")).status_code == 401


async def test_a_session_ends_when_its_user_is_disabled(people: People, pool: Pool) -> None:
    async with people.signed_in(await people.create()) as pages:
        await pool.execute("UPDATE users SET is_active = false")
        assert (await pages.get("/account")).status_code == 303


async def test_a_session_ends_by_the_clock_of_the_database(people: People, pool: Pool) -> None:
    async with people.signed_in(await people.create()) as pages:
        left = await pool.fetchval("SELECT expires_at - now() FROM api_keys")
        assert 11.9 < left.total_seconds() / 3600 <= 12
        await pool.execute("UPDATE api_keys SET expires_at = now()")
        assert (await pages.get("/account")).status_code == 303
        part = await pages.get("/account/requests", headers={"hx-request": "true"})
        assert (part.status_code, part.headers["hx-redirect"]) == (401, "/")
