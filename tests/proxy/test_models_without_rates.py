"""Models that the rate card refuses are not shown, and all others are as the upstream has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.books import create_holder
from tests.support.rate_cards import post, priced, written
from tests.support.upstream import Response

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

CARD = """
[[models]]
match = "gpt-4o-mini*"
input = 0.5
output = 2

[[models]]
match = "org/*"
input = 1
output = 1
"""
NEXT_YEAR = datetime.now(UTC).date() + timedelta(days=365)
NOT_BEGUN = f"""
version = 2
{CARD}
[[models]]
match = "o9"
valid_from = {NEXT_YEAR}
input = 1
output = 1
"""
DEFAULT = 'unpriced = "default"\n[default]\ninput = 1\noutput = 1\n' + CARD
PRICED = b'{ "object":"list",\n "data": [ {"id":"gpt-4o-mini", "owned_by": "system"}, {"x": 1} ]}'
MIXED = b"""{ "object": "list", "data": [
    {"id": "gpt-4o-mini-2024-07-18", "created": 1721172741},
    {"id": "o9", "created": 1},
    {"id": "ft:gpt-4o-mini:acme::1", "created": 2},
    {"id": "omni-moderation-latest", "created": 3},
    {"id": "org/small", "name": "A model called o9", "created": 4}
], "first": "o9" }"""


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


async def listed(http: httpx2.AsyncClient, holder: Holder) -> httpx2.Response:
    response = await http.get("/v1/models", headers=holder.headers)
    assert response.status_code == 200
    return response


@pytest.mark.parametrize("card", [CARD, NOT_BEGUN], ids=["no row", "a row for next year"])
async def test_a_model_without_a_rate_is_cut_from_the_list_and_nothing_else(
    dsn: str, upstream: ScriptedUpstream, holder: Holder, tmp_path: Path, card: str
) -> None:
    async with priced(dsn, upstream, written(tmp_path, card), models_copy_s=60) as http:
        upstream.script(Response(body=MIXED))
        first, second = await listed(http, holder), await listed(http, holder)
    whole = orjson.loads(MIXED)
    del whole["data"][1:3]
    assert first.json() == whole
    assert list(first.json()) == ["object", "data", "first"]
    assert second.content == first.content
    assert "age" in second.headers
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("card", "body"),
    [(CARD, PRICED), (DEFAULT, MIXED.replace(b"ft:", b"my-"))],
    ids=["every model has a rate", "a rate for all others"],
)
async def test_a_list_without_such_a_model_passes_byte_for_byte(
    dsn: str, upstream: ScriptedUpstream, holder: Holder, tmp_path: Path, card: str, body: bytes
) -> None:
    async with priced(dsn, upstream, written(tmp_path, card)) as http:
        upstream.script(Response(body=body))
        assert (await listed(http, holder)).content == body


async def test_one_model_without_a_rate_is_not_found_as_in_a_request_and_nobody_is_asked(
    dsn: str, upstream: ScriptedUpstream, holder: Holder, tmp_path: Path
) -> None:
    async with priced(dsn, upstream, written(tmp_path, CARD)) as http:
        posted = await post(http, holder, model="o9")
        found = await http.get("/v1/models/o9", headers=holder.headers)
        assert found.status_code == posted.status_code == 404
        assert found.json() == posted.json()
        assert found.json()["error"]["code"] == "model_not_found"
        assert upstream.requests == []
        upstream.always(Response(body=b"{}"))
        for name in ("gpt-4o-mini", "org%2Fsmall", "omni-moderation-latest"):
            response = await http.get(f"/v1/models/{name}", headers=holder.headers)
            assert response.status_code == 200, response.text
        nobody = await http.get("/v1/models/o9", headers={"authorization": "Bearer sk-tb-no"})
        assert nobody.status_code == 401
    assert len(upstream.requests) == 3


async def test_without_a_card_only_fine_tunes_are_cut(
    dsn: str, upstream: ScriptedUpstream, holder: Holder
) -> None:
    async with priced(dsn, upstream, None) as http:
        upstream.script(Response(body=MIXED))
        assert [row["id"] for row in (await listed(http, holder)).json()["data"]] == [
            *("gpt-4o-mini-2024-07-18", "o9", "omni-moderation-latest", "org/small"),
        ]
        upstream.script(Response(body=b"{}"))
        assert (await http.get("/v1/models/o9", headers=holder.headers)).status_code == 200


SECONDS = """
version = 2
[[models]]
match = "whisper-1"
second_audio = 100
"""


async def test_a_row_for_seconds_is_none_for_a_chat(
    dsn: str, upstream: ScriptedUpstream, holder: Holder, tmp_path: Path
) -> None:
    async with priced(dsn, upstream, written(tmp_path, SECONDS)) as http:
        refused = await post(http, holder, model="whisper-1")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
    assert upstream.requests == []
