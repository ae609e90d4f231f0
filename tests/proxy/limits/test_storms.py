"""More requests than a rate admits: refused without the database, as long as it was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.chat import CHAT
from tests.support.limited_keys import create_limited, limit
from tokenbalance.database.connections import Pool
from tokenbalance.people.refusals import RefusalCounts
from tokenbalance.proxy.limits import storms

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Sessions
    from tokenbalance.errors import ProxyError
    from tokenbalance.model import Caller

AMPLE = 10_000_000
CHATS = "/v1/chat/completions"
STORM_S = 60.0


async def ask(http: httpx2.AsyncClient, holder: Holder) -> httpx2.Response:
    return await http.post(CHATS, json=CHAT, headers=holder.headers)


@pytest.fixture
def remembering(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process remembers a refusal as long as it is true, whatever the machine does meanwhile."""
    monkeypatch.setattr(storms, "REMEMBERED_S", STORM_S)


@pytest.mark.usefixtures("remembering")
@pytest.mark.parametrize("of_account", [False, True])
async def test_a_storm_does_not_reach_the_database(
    pool: Pool,
    sessions: Sessions,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    monkeypatch: pytest.MonkeyPatch,
    *,
    of_account: bool,
) -> None:
    limits = {"requests_per_minute": 1}
    holder = await create_limited(
        pool,
        sessions,
        {} if of_account else limits,
        account=limits if of_account else {},
        balance=AMPLE,
    )
    assert (await ask(http, holder)).status_code == 200
    read = await ask(http, holder)
    asked = 0
    run = Pool._run

    async def spying(pool: Pool, *arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        return await run(pool, *arguments)

    with monkeypatch.context() as patch:
        # Counts of refusals and the like are written in the background.
        patch.setattr("tokenbalance.people.refusals.FLUSH_S", STORM_S)
        patch.setattr(Pool, "_run", spying)
        refused = [await ask(http, holder) for _ in range(50)]
    assert asked < len(refused)
    waits = [int(each.headers["retry-after-ms"]) for each in (read, *refused)]
    assert waits == sorted(waits, reverse=True)
    for each in refused:
        error, told = each.json()["error"], read.json()["error"]
        assert each.status_code == 429
        assert (error["code"], error["type"]) == (told["code"], told["type"])
        assert each.headers["x-tokenbalance-limit"] == read.headers["x-tokenbalance-limit"]
        assert each.headers["x-ratelimit-remaining-requests"] == "0"
    assert len(upstream.requests) == 1


async def test_a_storm_is_counted_like_other_refusals(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[tuple[int, str]] = []

    def count(_counts: RefusalCounts, caller: Caller | None, error: ProxyError) -> None:
        assert caller is not None
        counted.append((caller.key_id, error.code))

    monkeypatch.setattr(RefusalCounts, "count", count)
    holder = await create_limited(pool, sessions, {"requests_per_minute": 1}, balance=AMPLE)
    for _ in range(4):
        _ = await ask(http, holder)
    assert counted == [(holder.key_id, "rate_limit_exceeded")] * 3


async def test_who_lifts_a_limit_or_ends_a_key_is_obeyed_when_it_is_read_again(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storms, "REMEMBERED_S", 0.0)
    holder = await create_limited(pool, sessions, {"requests_per_minute": 1}, balance=AMPLE)
    assert [(await ask(http, holder)).status_code for _ in range(3)] == [200, 429, 429]
    await limit(sessions, holder, {"tokens_per_minute": AMPLE})
    assert [(await ask(http, holder)).status_code for _ in range(2)] == [200, 200]
    await limit(sessions, holder, {"requests_per_minute": 1})
    assert [(await ask(http, holder)).status_code for _ in range(2)] == [200, 429]
    await pool.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", holder.key_id)
    assert (await ask(http, holder)).status_code == 401


def test_a_change_is_noticed_within_a_second() -> None:
    assert storms.REMEMBERED_S <= 1
