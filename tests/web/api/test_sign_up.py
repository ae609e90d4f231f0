"""Sign-up that is open to anybody: how many one place may make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.product import serving
from tokenbalance.people import attempts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.upstream import ScriptedUpstream
    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool

FREE = 3


@pytest.fixture
async def http(
    dsn: str, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a product where anybody may sign up, and few at once."""
    monkeypatch.setattr(attempts, "SIGN_UPS_FREE", FREE)
    monkeypatch.setattr(attempts, "_FIRST_WAIT_S", 600)
    monkeypatch.setattr(attempts, "WAIT_S_MAX", 600)
    async with (
        serving(dsn, upstream.base_url, signup="open") as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as client,
    ):
        yield client


async def sign_up(
    http: httpx2.AsyncClient, email: str, headers: dict[str, str] | None = None
) -> httpx2.Response:
    body = {"email": email, "password": "analytical", "name": "Ada"}
    return await http.post("/api/user/create", json=body, headers=headers)


async def test_one_address_makes_so_many_users_and_then_has_to_wait(
    http: httpx2.AsyncClient, people: People, pool: Pool, email: str
) -> None:
    for number in range(FREE):
        assert (await sign_up(http, f"{number}.{email}")).status_code == 201
    before = await pool.fetchval("SELECT count(*) FROM users")
    for headers in (None, {"Authorization": "Bearer tb-none"}, people.user.headers):
        refused = await sign_up(http, f"late.{email}", headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (
            429,
            "rate_limit_exceeded",
        )
        assert 0 < int(refused.headers["retry-after"]) <= 600
        assert "sign in" not in refused.text
    assert await pool.fetchval("SELECT count(*) FROM users") == before
    # Who manages others is not slowed down, and those who are there already sign in.
    assert (await sign_up(http, f"late.{email}", people.superuser.headers)).status_code == 201
    body = {"email": f"0.{email}", "password": "analytical"}
    assert (await http.post("/api/user/auth", json=body)).status_code == 200


async def test_asking_who_is_there_already_counts_as_well(
    http: httpx2.AsyncClient, people: People, email: str
) -> None:
    assert people
    assert (await sign_up(http, email)).status_code == 201
    for _ in range(FREE - 1):
        assert (await sign_up(http, email)).status_code == 400
    assert (await sign_up(http, email)).status_code == 429


async def test_what_is_refused_at_a_glance_does_not_count(
    http: httpx2.AsyncClient, people: People, email: str
) -> None:
    assert people
    for _ in range(FREE + 1):
        assert (await sign_up(http, "no address")).status_code == 400
    assert (await sign_up(http, email)).status_code == 201
