"""Models and prices by the API: the card as it is today, in pages and as a file."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.support.product import serving
from tests.support.rate_cards import written

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.web.api.conftest import People

TODAY = datetime.now(UTC).date()
LAST_YEAR, NEXT_YEAR = TODAY - timedelta(days=365), TODAY + timedelta(days=365)
CARD = f"""
version = 2
unpriced = "refuse"

[[models]]
match = ["gpt-6.2-sol", "gpt-6.2-sol-*"]
valid_from = {LAST_YEAR}
input = 2
cached_input = 0.1
cache_write = 2.5
cache_write_12h = 5
output = 10
long = {{ above = 272000, input = 2, output = 1.5 }}
tier = {{ flex = 0.5, priority = "5/3", ultrafast = 3 }}
calls = {{ web_search = 10000, code_interpreter = 30000.5 }}
batch = 0.5

[[models]]
match = ["gpt-6.2-sol", "gpt-6.2-sol-*"]
valid_from = {NEXT_YEAR}
input = 1
output = 5

[[models]]
match = "gpt-4o-mini*"
input = 0.15
output = 0.6
request = 2

[[models]]
match = "whisper-*"
second_audio = 100
"""
DEFAULT = '\nunpriced = "default"\n[default]\ninput = 1\noutput = 0\n'
TOKENS = ("input", "cached_input", "output", "reasoning", "audio_input", "cache_write")


@pytest.fixture(scope="module")
async def priced(
    dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a product with a card."""
    card = written(tmp_path_factory.mktemp("card"), CARD)
    async with (
        serving(dsn, None, rate_card=card) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as http,
    ):
        yield http


async def rates(http: httpx2.AsyncClient, people: People, query: str = "") -> Any:
    response = await http.get(f"/api/rates{query}", headers=people.user.headers)
    assert response.status_code == 200, response.text
    return response.json()


async def test_without_a_card_a_token_is_a_credit(http: httpx2.AsyncClient, people: People) -> None:
    assert await rates(http, people) == {
        "basis": "token",
        "unpriced": None,
        "data": [],
        "has_more": False,
        "next": None,
    }
    assert (await rates(http, people, "?model=gpt-4o"))["data"] == []


async def test_a_row_says_all_that_it_asks_and_what_follows_it(
    priced: httpx2.AsyncClient, people: People
) -> None:
    found = await rates(priced, people)
    assert (found["basis"], found["unpriced"]) == ("card", "refuse")
    sol, mini, whisper = found["data"]
    following = sol.pop("next")
    prices = {kind: sol["rates"][kind] for kind in (*TOKENS, "cache_write_12h")}
    assert prices == {
        "input": "2",
        "cached_input": "0.1",
        "output": "10",
        "reasoning": "10",
        "audio_input": "2",
        "cache_write": "2.5",
        "cache_write_12h": "5",
    }
    del sol["rates"]
    assert sol == {
        "models": ["gpt-6.2-sol", "gpt-6.2-sol-*"],
        "valid_from": str(LAST_YEAR),
        "long": {"above": 272_000, "input": "2", "output": "1.5"},
        "tiers": {"flex": "0.5", "priority": "5/3", "ultrafast": "3"},
        "calls": {"web_search": "10000", "code_interpreter": "30000.5"},
        "batch": "0.5",
        "windows": {},
        "region": None,
    }
    assert following["valid_from"] == str(NEXT_YEAR)
    assert following["rates"]["cache_write_12h"] == "1"
    assert (following["long"], following["tiers"], following["calls"]) == (None, {}, {})
    assert "next" not in following
    assert (mini["valid_from"], mini["next"], mini["rates"]["request"]) == (None, None, "2")
    assert whisper["rates"]["second_audio"] == "100"
    assert "character" not in whisper["rates"]
    assert not any(kind.startswith(("image_tool", "svg")) for kind in whisper["rates"])


async def test_the_row_of_one_model_is_the_first_that_matches(
    priced: httpx2.AsyncClient, people: People
) -> None:
    for model, found in (
        ("gpt-6.2-sol-2026-11-17", ["gpt-6.2-sol", "gpt-6.2-sol-*"]),
        ("gpt-4o-mini", ["gpt-4o-mini*"]),
        ("GPT-4o-mini", None),
        ("o9", None),
    ):
        rows = (await rates(priced, people, f"?model={model}"))["data"]
        assert [row["models"] for row in rows] == ([] if found is None else [found]), model


async def test_a_long_list_comes_in_pages(priced: httpx2.AsyncClient, people: People) -> None:
    seen: list[str] = []
    query = "?limit=2"
    while query:
        page = await rates(priced, people, query)
        seen += [row["models"][0] for row in page["data"]]
        assert page["has_more"] is (page["next"] is not None)
        query = f"?limit=2&after={page['next']}" if page["has_more"] else ""
    assert seen == ["gpt-6.2-sol", "gpt-4o-mini*", "whisper-*"]
    for wrong in ("after=x", "after=WyJhIl0", "after=Wy0xXQ", "limit=0", "model=%00", "days=1"):
        response = await priced.get(f"/api/rates?{wrong}", headers=people.user.headers)
        assert response.status_code == 400, wrong


async def test_all_prices_are_one_file(priced: httpx2.AsyncClient, people: People) -> None:
    headers = {**people.user.headers, "accept": "text/csv"}
    response = await priced.get("/api/rates?limit=1", headers=headers)
    assert response.headers["content-disposition"] == 'attachment; filename="rates.csv"'
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [(row["models"], row["valid_from"], row["input"]) for row in rows] == [
        ("gpt-6.2-sol gpt-6.2-sol-*", str(LAST_YEAR), "2"),
        ("gpt-6.2-sol gpt-6.2-sol-*", str(NEXT_YEAR), "1"),
        ("gpt-4o-mini*", "", "0.15"),
        ("whisper-*", "", "0"),
    ]
    sol = rows[0]
    assert (sol["long_above"], sol["long_input"], sol["long_output"]) == ("272000", "2", "1.5")
    assert sol["tiers"] == "flex=0.5 priority=5/3 ultrafast=3"
    assert sol["calls"] == "web_search=10000 code_interpreter=30000.5"
    assert (sol["batch"], sol["cache_write_12h"], sol["request"]) == ("0.5", "5", "0")


async def test_the_rates_of_all_other_models_are_the_last_row(
    dsn: str, people: People, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = CARD.replace('\nunpriced = "refuse"\n', DEFAULT)
    card = written(tmp_path_factory.mktemp("card"), text)
    async with (
        serving(dsn, None, rate_card=card) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as http,
    ):
        found = await rates(http, people)
        assert found["unpriced"] == "default"
        assert found["data"][-1]["models"] == ["*"]
        assert found["data"][-1]["rates"]["input"] == "1"
        for model, first in (("o9", "*"), ("GPT-4o-mini", "gpt-4o-mini*")):
            (row,) = (await rates(http, people, f"?model={model}"))["data"]
            assert row["models"][0] == first
