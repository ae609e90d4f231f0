"""Counts of refusals by the management API."""

from __future__ import annotations

import base64
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from tests.support.days import today
from tests.support.refused import refuse

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool


async def get(http: httpx2.AsyncClient, holder: Holder, **params: str | int) -> dict[str, Any]:
    response = await http.get("/api/refusals", params=params, headers=holder.headers)
    assert response.status_code == 200, response.text
    return response.json()


def found(page: dict[str, Any]) -> list[tuple[date, str, int]]:
    return [(date.fromisoformat(r["day"]), r["code"], r["count"]) for r in page["data"]]


async def test_refusals_are_counted_by_day_and_code_for_whose_key_it_was(
    http: httpx2.AsyncClient, pool: Pool, people: People
) -> None:
    day = today()
    yesterday = day - timedelta(days=1)
    await refuse(pool, people.user.account_id, people.user.key_id, "insufficient_quota", 12)
    await refuse(pool, people.user.account_id, people.user.key_id, "balance_held", 3, yesterday)
    await refuse(pool, people.other.account_id, people.other.key_id, "balance_held", 7)
    page = await get(http, people.user)
    assert found(page) == [(day, "insufficient_quota", 12), (yesterday, "balance_held", 3)]
    assert page["data"][0]["key"]["id"] == people.user.key_id
    assert page == await get(http, people.superuser, user_id=people.user.user_id)
    assert found(await get(http, people.superuser)) == []


async def test_a_period_counts_each_day_that_it_touches(
    http: httpx2.AsyncClient, pool: Pool, people: People
) -> None:
    user = people.user
    day = today()
    days = [day - timedelta(days=n) for n in range(4)]
    for day in days:
        await refuse(pool, user.account_id, user.key_id, "balance_held", 1, day)
    for since, until, expected in [
        (days[1].isoformat(), days[0].isoformat(), [days[1]]),
        (f"{days[2]}T23:59:59Z", f"{days[1]}T00:00:01Z", [days[1], days[2]]),
        (days[0].isoformat(), None, [days[0]]),
    ]:
        params = {"since": since} if until is None else {"since": since, "until": until}
        assert [row[0] for row in found(await get(http, user, **params))] == expected


async def test_pages_of_refusals_follow_each_other(
    http: httpx2.AsyncClient, pool: Pool, people: People
) -> None:
    user = people.user
    rows = [(day, code) for day in (today(), today() - timedelta(days=1)) for code in ("b", "a")]
    for day, code in rows:
        await refuse(pool, user.account_id, user.key_id, code, 1, day)
    read: list[tuple[date, str]] = []
    after: dict[str, str] = {}
    for _ in range(3):
        page = await get(http, user, limit=2, **after)
        read += [row[:2] for row in found(page)]
        if not page["has_more"]:
            break
        after = {"after": page["next"]}
    assert read == rows


async def test_a_cursor_that_is_none_of_this_list_is_refused(
    http: httpx2.AsyncClient, people: People
) -> None:
    for cursor in ("x", "WzEsMiwiYSIsM10"):
        response = await http.get(
            "/api/refusals", params={"after": cursor}, headers=people.user.headers
        )
        assert (response.status_code, response.json()["error"]["param"]) == (400, "after")
    # A day that no calendar has ends the list.
    for day in (0, -1, 2**53):
        text = f'[{day},1,"a"]'.encode()
        response = await http.get(
            "/api/refusals",
            params={"after": _cursor(text)},
            headers=people.user.headers,
        )
        assert response.status_code == 200


def _cursor(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode().rstrip("=")
