"""Signing up on the pages, where strangers may, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.people import PASSWORD, People
from tests.support.product import serving
from tokenbalance.people import attempts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from tokenbalance.database.connections import Pool, Sessions

KIM = {"email": "kim@example.com", "name": "Kim", "password": PASSWORD, "repeated": PASSWORD}


@pytest.fixture
async def strangers(dsn: str, sessions: Sessions) -> AsyncIterator[People]:
    """People of a product that anybody may sign up to."""
    async with serving(dsn, None, signup="open") as url:
        yield People(sessions, url)


async def users(pool: Pool) -> int:
    return await pool.fetchval("SELECT count(*) FROM users")


async def test_nobody_signs_up_where_only_superusers_create_users(
    people: People, pool: Pool
) -> None:
    async with people.pages() as pages:
        assert "/sign-up" not in (await pages.see("/sign-in")).text
        assert (await pages.get("/sign-up")).status_code == 404
        assert (await pages.submit("/sign-up", **KIM)).status_code == 404
    assert await users(pool) == 0


async def test_a_stranger_signs_up_and_is_signed_in_with_nothing_to_spend(
    strangers: People, pool: Pool
) -> None:
    async with strangers.pages() as pages:
        assert 'href="/sign-up"' in (await pages.see("/sign-in")).text
        await pages.see("/sign-up")
        response = await pages.submit("/sign-up", **KIM)
        assert (response.status_code, response.headers["location"]) == (303, "/account")
        assert "kim@example.com" in (await pages.see("/account")).text
        assert (await pages.get("/admin")).status_code == 403
    row = await pool.fetchrow("SELECT is_superuser, balance FROM users JOIN accounts USING (id)")
    assert row is not None
    assert tuple(row) == (False, 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"email": "kim"}, "the e-mail must have exactly one"),
        ({"email": ""}, "E-mail"),
        ({"password": "abcd", "repeated": "abcd"}, "at least 8 characters"),
        ({"repeated": "another"}, "passwords do not match"),
        ({"email": "PERSON1@example.com"}, "already exists"),
        ({"name": "N" * 201}, "at most 200 characters"),
    ],
)
async def test_what_cannot_be_is_said_at_its_field(
    strangers: People, pool: Pool, change: dict[str, str], words: str
) -> None:
    await strangers.create()
    async with strangers.pages() as pages:
        await pages.see("/sign-up")
        response = await pages.submit("/sign-up", **{**KIM, **change})
        assert response.status_code == 400
        assert words.lower() in response.text.lower()
        assert PASSWORD not in response.text
    assert await users(pool) == 1


async def test_one_address_does_not_sign_up_without_end(
    strangers: People, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "SIGN_UPS_FREE", 2)
    monkeypatch.setattr(attempts, "_FIRST_WAIT_S", 600)
    monkeypatch.setattr(attempts, "WAIT_S_MAX", 600)
    for number in range(2):
        assert (await sign_up(strangers, f"{number}@example.com")).status_code == 303
    refused = await sign_up(strangers, "late@example.com")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 600
    assert await users(pool) == 2


async def sign_up(strangers: People, email: str) -> httpx2.Response:
    async with strangers.pages() as pages:
        await pages.see("/sign-up")
        return await pages.submit("/sign-up", **{**KIM, "email": email})
