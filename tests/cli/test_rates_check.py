"""`rates check`: models in use that the card does not cover, or that will be shut down."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.books import create_holder
from tests.support.days import today
from tests.support.upstream import ScriptedUpstream, json_response
from tests.support.usage import Used, use

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import date

    from tests.cli.conftest import Cli, Response
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Json

KEY = "sk-of-the-operator"
CARD = """
version = 2
[[models]]
match = ["new-1", "new-2"]
input = 1
cache_write = 1.25
output = 2
tier = { flex = 0.5 }
calls = { web_search = 10 }
"""


def models(day: date) -> str:
    """Facts about three models, of which one has ended and one is about to."""
    return f"""
[[models]]
names = ["old-"]
retires = {day - timedelta(days=1)}
[[models]]
names = ["ending-"]
retires = {day + timedelta(days=60)}
[[models]]
names = ["new-"]
retires = {day + timedelta(days=61)}
"""


@pytest.fixture
async def upstream() -> AsyncGenerator[ScriptedUpstream]:
    """An upstream that offers one model."""
    async with ScriptedUpstream() as upstream:
        upstream.always(json_response({"object": "list", "data": [{"id": "new-1"}]}))
        yield upstream


@pytest.fixture
def shop(cli: Cli, upstream: ScriptedUpstream) -> Cli:
    """The command with a card, facts about models, and an upstream."""
    for name, text in (("RATE_CARD", CARD), ("MODELS", models(today()))):
        file = cli.folder / f"{name}.toml"
        file.write_text(text)
        cli.settings[f"TOKENBALANCE_{name}"] = str(file)
    cli.settings.update({"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": KEY})
    return cli


async def check(shop: Cli, *options: str) -> Response:
    """Run it beside the upstream, which lives in this loop."""
    response = await asyncio.to_thread(shop, "rates", "check", *options)
    assert KEY not in response.out + response.err
    return response


async def test_nothing_to_say_is_one_line_and_exit_0(
    shop: Cli, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool)
    more = {"tier:flex": 1, "tier:default": 1, "call:web_search": 2, "cached_input": 3}
    _ = await use(pool, holder, Used(model="new-2", more=more))
    response = await check(shop)
    assert (response.code, response.err) == (0, "")
    assert response.out == "ok: 1 model used in 30 days, 1 offered\n"
    assert [(one.method, one.target) for one in upstream.requests] == [("GET", b"/v1/models")]
    assert upstream.requests[0].header("authorization") == f"Bearer {KEY}"
    as_json = orjson.loads((await check(shop, "--json")).out)
    assert as_json == {
        "ok": True,
        "days": 30,
        "card": shop.settings["TOKENBALANCE_RATE_CARD"],
        "used": ["new-2"],
        "offered": ["new-1"],
        "not_offered_because": None,
        "findings": [],
    }


async def test_models_without_a_row_are_told_whether_used_or_offered(
    shop: Cli, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool)
    _ = await use(pool, holder, Used(model="other-1"))
    _ = await use(pool, holder, Used(model=None))
    _ = await use(pool, holder, Used(model="forgotten", at=datetime.now(UTC) - timedelta(days=40)))
    names = ("other-2", "ft:other-3:us::1", "other-1", "new-1")
    upstream.always(json_response({"data": [{"id": name} for name in names]}))
    response = await check(shop)
    assert (response.code, response.err) == (1, "")
    assert response.out.splitlines() == [
        "other-1 (used): has no row on the card: requests are refused",
        "other-2 (offered): has no row on the card: requests are refused",
    ]
    longer = orjson.loads((await check(shop, "--days", "50", "--json")).out)
    assert [(one["model"], one["code"], one["used"]) for one in longer["findings"]] == [
        ("forgotten", "no_row", True),
        ("other-1", "no_row", True),
        ("other-2", "no_row", False),
    ]


async def test_a_model_that_only_the_default_covers_is_told(
    shop: Cli, pool: Pool, upstream: ScriptedUpstream
) -> None:
    upstream.always(json_response({"data": [{"id": "other-2"}]}))
    card = shop.folder / "RATE_CARD.toml"
    card.write_text('unpriced = "default"\n[default]\ninput = 1\noutput = 2\n')
    del pool
    response = await check(shop)
    assert (response.code, response.out) == (
        1,
        "other-2 (offered): has no row on the card: requests are charged by [default]\n",
    )


async def test_tiers_fees_and_kinds_that_came_without_a_price_are_told(
    shop: Cli, pool: Pool
) -> None:
    holder = await create_holder(pool)
    more = {
        "tier:ultrafast": 1,
        "call:file_search": 3,
        "session:shell": 1,
        "second_audio": 90,
        "cache_write_12h": 1_000,
    }
    for _ in range(2):
        _ = await use(pool, holder, Used(tokens=2_000, model="new-1", more=more))
    response = await check(shop)
    assert response.code == 1
    assert sorted(response.out.splitlines()) == [
        (
            "new-1 (used): 180 of second_audio were used, and have no rate: they cost the tokens"
            " that they stand for"
        ),
        (
            "new-1 (used): 2 responses came at tier ultrafast, which has no factor: they are"
            " charged as the dearest of its row"
        ),
        (
            "new-1 (used): 2,000 tokens were written to the cache for 12 hours, and"
            " cache_write_12h has no rate: they cost 1.25, as cache_write does"
        ),
        "new-1 (used): call:file_search was used 6 times, and has no fee: it cost nothing",
        "new-1 (used): session:shell was used 2 times, and has no fee: it cost nothing",
    ]


async def test_models_that_are_shut_down_within_60_days_are_told(
    shop: Cli, pool: Pool, upstream: ScriptedUpstream
) -> None:
    del pool
    day = today()
    card = shop.folder / "RATE_CARD.toml"
    card.write_text(CARD.replace('"new-1"', '"new-1", "old-1", "ending-1"'))
    names = ("old-1", "ending-1", "new-1")
    upstream.always(json_response({"data": [{"id": name} for name in names]}))
    response = await check(shop)
    assert response.code == 1
    assert response.out.splitlines() == [
        f"ending-1 (offered): will be shut down on {day + timedelta(days=60)}, in 60 days",
        f"old-1 (offered): was shut down on {day - timedelta(days=1)}",
    ]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"data": []}, 401, "the upstream answered GET /models with 401"),
        ({"models": []}, 200, "the upstream's response to GET /models is no list of models"),
        ([], 200, "the upstream's response to GET /models is no list of models"),
    ],
)
async def test_an_upstream_that_sends_no_list_is_said_and_no_finding(
    shop: Cli, pool: Pool, upstream: ScriptedUpstream, body: Json, status: int, reason: str
) -> None:
    del pool
    upstream.always(json_response(body, status=status))
    response = await check(shop)
    assert (response.code, response.out) == (0, "ok: 0 models used in 30 days\n")
    assert response.err == f"The upstream's models were not checked: {reason}.\n"


async def test_without_an_upstream_or_a_card_what_can_be_checked_is(shop: Cli, pool: Pool) -> None:
    holder = await create_holder(pool)
    _ = await use(pool, holder, Used(model="old-1"))
    del shop.settings["OPENAI_API_KEY"], shop.settings["TOKENBALANCE_RATE_CARD"]
    response = await check(shop)
    assert response.code == 1
    assert response.err.splitlines() == [
        "TOKENBALANCE_RATE_CARD is not set: a token of every model costs one credit.",
        "The upstream's models were not checked: OPENAI_API_KEY is not set.",
    ]
    assert response.out.startswith("old-1 (used): was shut down on ")
    shop.settings.update({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    assert "cannot be asked (upstream_unavailable)" in (await check(shop)).err
