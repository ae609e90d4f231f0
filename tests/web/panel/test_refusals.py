"""What pages do not take, and how they say so: filters, forms that come back, lost sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.support.books import create_holder, placed
from tests.support.people import PASSWORD
from tokenbalance.books.ledger.book import Book

if TYPE_CHECKING:
    from tests.support.people import People
    from tokenbalance.database.connections import Pool

LISTS = ["admin/ledger", "admin/requests", "admin/users", "account/ledger", "account/requests"]
FILES = ["admin/ledger.csv", "admin/requests.csv", "account/ledger.csv"]


@pytest.mark.parametrize("path", [*LISTS, *FILES])
async def test_a_filter_that_there_is_not_shows_nothing_instead_of_everything(
    people: People, path: str
) -> None:
    somebody = await people.create(is_superuser=True, balance=1234)
    async with people.signed_in(somebody) as pages:
        response = await pages.get(f"/{path}?from=2026-99-99")
        assert response.status_code == 400
        assert response.text.startswith("<!doctype html>")
        assert "This page has no filter &#39;from&#39;" in response.text
        assert "1,234" not in response.text
        assert "a first grant" not in response.text
        # Nor does the page offer a file of everything.
        assert f"/{path}.csv" not in response.text or path == "account/ledger"
        assert (await pages.get(f"/{path}")).status_code == 200


@pytest.mark.parametrize("path", ["ledger", "requests"])
@pytest.mark.parametrize("value", ["abc", "2026-99-99"])
async def test_a_day_that_is_none_is_told_at_its_field(
    people: People, path: str, value: str
) -> None:
    somebody = await people.create(is_superuser=True, balance=1234)
    async with people.signed_in(somebody) as pages:
        page = await pages.get(f"/admin/{path}?since={value}")
        assert page.status_code == 400
        assert 'id="e-since">This must be a date' in page.text
        assert "1,234" not in page.text
        file = await pages.get(f"/admin/{path}.csv?since={value}")
        assert file.status_code == 400
        assert "This must be a date" in file.text


async def test_a_new_user_who_comes_back_asks_for_the_password_again(
    people: People, pool: Pool
) -> None:
    somebody = await people.create(is_superuser=True)
    wanted = {"email": "new@example.com", "password": "a good one", "key": "yes"}
    async with people.signed_in(somebody) as pages:
        for wrong in ({"balance": "much"}, {"email": somebody.email}):
            response = await pages.submit("/admin/users/new", **(wanted | wrong))
            assert response.status_code == 400
            assert 'id="e-password">Enter the password again.' in response.text
            assert "a good one" not in response.text
        without = await pages.submit("/admin/users/new", email=somebody.email)
        assert "Enter the password again" not in without.text
    assert await pool.fetchval("SELECT count(*) FROM users") == 1


async def test_all_that_is_wrong_with_a_new_user_is_told_at_once(people: People) -> None:
    wrong = {"email": "nobody", "name": "x" * 201, "password": "four", "balance": str(2**53)}
    async with people.signed_in(await people.create(is_superuser=True)) as pages:
        response = await pages.submit("/admin/users/new", **wrong, **{"key-expires": "2020-01-01"})
        for name in ("email", "name", "password", "balance", "key-expires"):
            assert f'id="e-{name}"' in response.text
        assert "at least 8 characters" in response.text


@pytest.mark.parametrize(
    ("path", "referer", "following"),
    [
        ("/account/profile/name", "/account/profile?x=1", "/account/profile?x=1"),
        # The page of a form that has come back is where it was sent to.
        ("/admin/users/new", "/admin/users/new", "/admin/users/new"),
        ("/admin/users/1/credits", "/admin/users/1/credits", None),
        ("/account/keys", None, "/account/keys"),
        ("/account/profile/name", "http://evil.example/account", None),
        ("/account/profile/name", "http://[bad", None),
    ],
)
async def test_who_was_signed_out_meanwhile_is_told_and_led_back(
    people: People, pool: Pool, path: str, referer: str | None, following: str | None
) -> None:
    somebody = await people.create(is_superuser=True)
    async with people.signed_in(somebody) as pages:
        await pool.execute("UPDATE api_keys SET revoked_at = now() WHERE kind = 'sign-in'")
        if referer is not None:
            base = "" if referer.startswith("http") else str(pages.base_url).rstrip("/")
            pages.headers["referer"] = f"{base}{referer}"
        response = await pages.submit(path, name="Eve")
        query = f"?{urlencode({'next': following})}" if following else ""
        led_to = (response.status_code, response.headers["location"])
        assert led_to == (303, f"/sign-in{query}")
        page = await pages.see(response.headers["location"])
        assert "You were signed out, so nothing was saved." in page.text
        entered = await pages.submit(
            "/sign-in", email=somebody.email, password=PASSWORD, next=following or ""
        )
        assert entered.headers["location"] == (following or "/")


@pytest.mark.parametrize(("hold", "words"), [(1, "1 credit is held"), (2, "2 credits are held")])
async def test_one_credit_is_one_and_two_are_more(
    people: People, pool: Pool, hold: int, words: str
) -> None:
    holder = await create_holder(pool, 10)
    await placed(Book(pool, 60), holder, "tb_one", hold)
    async with people.signed_in(await people.create(is_superuser=True)) as pages:
        assert words in (await pages.see("/admin/requests/tb_one")).text
