"""With a rate card: what is held, told, charged and quoted for requests on a real socket."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.books import account_of, charges_of, create_holder, hold_states
from tests.support.chat import CHAT, DONE, MESSAGES, chunk, content
from tests.support.product import serving
from tests.support.upstream import Response, ScriptedUpstream, event_stream, json_response
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.pricing.rate_card import read_rate_card
from tokenbalance.errors import (
    EndpointNotAllowed,
    IntegerAboveMaximum,
    InvalidJson,
    InvalidType,
    InvalidValue,
    MissingParameter,
    ModelNotFound,
    ServiceTierNotAllowed,
    UnknownUrl,
)
from tokenbalance.proxy.quote import Quotes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool
    from tokenbalance.proxy.quote import Quote

CARD = """
[[models]]
match = "gpt-4o-mini*"
input = 0.5
cached_input = 0.25
output = 2
reasoning = 3
audio_input = 10
audio_output = 20
request = 1

[[models]]
match = "gpt-4.1"
input = 1
output = 0

[[models]]
match = "text-embedding-*"
input = 0.1
output = 0
"""
USAGE: Any = {
    "prompt_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens": 7,
    "completion_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 16,
}
CHARGE = 21
"""1 + 5 x 0.5 + 4 x 0.25 + 5 x 2 + 2 x 3 = 20.5."""
MESSAGE: Any = {"role": "assistant", "content": "one two three"}


EVERYTHING = """
unpriced = "default"

[default]
request = 7

[[models]]
match = "gpt-4o-mini*"
input = 0.15
cached_input = 0.075
output = 0.6
request = 0.5

[[models]]
match = "o3*"
input = 3
output = 0

[[models]]
match = "gpt-4.1*"
input = 0
output = 0

[[models]]
match = "*instruct"
input = 0.000000001
output = 11.1
"""
"""A fee alone, rates of every size, output for nothing, and everything for nothing."""
_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60)
_LONG = st.integers(1, 3000).map("word ".__mul__)
_COUNTS = st.integers(1, 4)
_CAPS = st.integers(1, 5000)


def bodies(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


REQUESTS: st.SearchStrategy[tuple[str, dict[str, Any]]] = st.one_of(
    st.tuples(
        st.just("/v1/chat/completions"),
        bodies(
            {
                "model": st.sampled_from(["gpt-4o-mini", "gpt-4o", "o3", "gpt-4.1", "unheard-of"]),
                "messages": (_TEXTS | _LONG).map(chat),
            },
            n=_COUNTS,
            max_completion_tokens=_CAPS,
        ),
    ),
    st.tuples(
        st.just("/v1/completions"),
        bodies(
            {"model": st.just("gpt-3.5-turbo-instruct"), "prompt": _TEXTS | _LONG},
            n=_COUNTS,
            max_tokens=_CAPS,
        ),
    ),
    st.tuples(
        st.just("/v1/responses"),
        bodies(
            {"model": st.sampled_from(["gpt-4o-mini", "gpt-4.1"]), "input": _TEXTS | _LONG},
            max_output_tokens=st.integers(16, 5000),
        ),
    ),
    st.tuples(
        st.just("/v1/embeddings"),
        bodies({"model": st.just("text-embedding-3-small"), "input": _TEXTS | _LONG}),
    ),
)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    return written(tmp_path, CARD)


def written(folder: Path, text: str) -> Path:
    path = folder / "card.toml"
    path.write_text(text)
    return path


@asynccontextmanager
async def priced(
    dsn: str, upstream: ScriptedUpstream, card: Path, **more: Any
) -> AsyncGenerator[httpx2.AsyncClient]:
    async with (
        serving(dsn, upstream.base_url, rate_card=card, **more) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as http,
    ):
        yield http


@pytest.fixture
async def everything_priced(
    dsn: str, upstream: ScriptedUpstream, tmp_path: Path
) -> AsyncIterator[httpx2.AsyncClient]:
    async with priced(dsn, upstream, written(tmp_path, EVERYTHING), hold_wait_s=0) as http:
        yield http


async def post(http: httpx2.AsyncClient, holder: Holder, **body: Any) -> httpx2.Response:
    return await http.post("/v1/chat/completions", json={**CHAT, **body}, headers=holder.headers)


async def test_usage_is_charged_at_the_rates_of_its_model(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, card: Path
) -> None:
    holder = await create_holder(pool, 1000)
    upstream.script(json_response({"choices": [{"message": MESSAGE}], "usage": USAGE}))
    async with priced(dsn, upstream, card) as http:
        response = await post(http, holder)
    assert response.headers["x-tokenbalance-charge"] == str(CHARGE)
    assert response.headers["x-tokenbalance-balance"] == str(1000 - CHARGE)
    # 1 + 9 x 0.5 + 50 x 3, the dearest that each token may be.
    assert response.headers["x-tokenbalance-hold"] == "156"
    assert (await account_of(pool, holder)).balance == 1000 - CHARGE
    assert (await audit(pool)).violations == []


async def test_a_stream_is_charged_at_the_rates_of_its_model(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, card: Path
) -> None:
    holder = await create_holder(pool, 1000)
    upstream.script(event_stream(content("a"), chunk(choices=[], usage=USAGE), DONE))
    async with priced(dsn, upstream, card) as http:
        _ = await post(http, holder, stream=True)
    assert (await account_of(pool, holder)).balance == 1000 - CHARGE


async def test_embeddings_without_output_are_charged_for_their_input(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, card: Path
) -> None:
    holder = await create_holder(pool, 100)
    upstream.script(json_response({"usage": {"prompt_tokens": 31, "total_tokens": 31}}))
    body = {"model": "text-embedding-3-small", "input": "word " * 30}
    async with priced(dsn, upstream, card) as http:
        _ = await http.post("/v1/embeddings", json=body, headers=holder.headers)
    assert (await account_of(pool, holder)).balance == 96


async def test_the_output_is_capped_to_what_the_balance_pays_for(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, card: Path
) -> None:
    holder = await create_holder(pool, 30)
    usage: Any = {**USAGE, "completion_tokens": 8, "total_tokens": 17}
    usage["completion_tokens_details"] = {"reasoning_tokens": 8}
    upstream.script(json_response({"choices": [{"message": MESSAGE}], "usage": usage}))
    async with priced(dsn, upstream, card) as http:
        response = await post(http, holder)
    # 30 - 1 - 9 x 0.5 = 24.5 pay for 8 tokens of reasoning.
    assert response.headers["x-tokenbalance-output-cap"] == "8"
    assert upstream.requests[0].json()["max_tokens"] == 8
    assert (await account_of(pool, holder)).balance >= 0
    (charge,) = await charges_of(pool, holder)
    assert charge["overrun"] == 0


async def test_output_that_costs_nothing_is_not_capped(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, card: Path
) -> None:
    holder = await create_holder(pool, 9)
    upstream.script(json_response({"choices": [{"message": MESSAGE}], "usage": USAGE}))
    async with priced(dsn, upstream, card) as http:
        response = await post(http, holder, model="gpt-4.1")
        assert response.status_code == 200
        assert "x-tokenbalance-output-cap" not in response.headers
        assert (await account_of(pool, holder)).balance == 0
        assert (await post(http, holder, model="gpt-4.1")).status_code == 402


async def test_audio_is_held_at_the_rate_of_audio(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, card: Path
) -> None:
    holder = await create_holder(pool, 10_000)
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    text = {"type": "text", "text": "Hello there"}
    async with priced(dsn, upstream, card) as http:
        plain = await post(http, holder, messages=[{"role": "user", "content": [text]}])
        heard = await post(http, holder, messages=[{"role": "user", "content": [text, audio]}])
        spoken = await post(http, holder, modalities=["text", "audio"])
    assert plain.headers["x-tokenbalance-hold"] == "156"
    assert int(heard.headers["x-tokenbalance-hold"]) > 50 * 20 + 64 * 10
    assert spoken.headers["x-tokenbalance-hold"] == str(1 + 9 * 10 + 50 * 20)


async def test_an_answer_that_cannot_be_read_costs_at_most_its_hold(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, card: Path
) -> None:
    holder = await create_holder(pool, 1000)
    headers = [("content-type", "application/json"), ("content-encoding", "unheard-of")]
    upstream.script(Response(headers=headers, body=b"\x01\x02\x03"))
    async with priced(dsn, upstream, card) as http:
        _ = await post(http, holder)
    (charge,) = await charges_of(pool, holder)
    assert charge["estimated"]
    assert (charge["input"], charge["output"], charge["total"]) == (9, 50, 59)
    # 1 + 9 x 0.5 + 50 x 2, rounded up; 156 were held.
    assert charge["amount"] == -106
    assert charge["overrun"] == 0
    assert (await audit(pool)).violations == []


async def test_a_model_without_a_rate_is_not_found_and_nothing_is_held(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, card: Path
) -> None:
    holder = await create_holder(pool, 10**6)
    async with priced(dsn, upstream, card) as http:
        response = await post(http, holder, model="gpt-6")
        free = {"model": "gpt-6", "input": "Hello"}
        counted = await http.post("/v1/responses/input_tokens", json=free, headers=holder.headers)
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "gpt-6" in error["message"]
    assert "no rate is set for it" in error["message"]
    assert await hold_states(pool, holder) == []
    assert counted.status_code == 200
    assert [request.target for request in upstream.requests] == [b"/v1/responses/input_tokens"]


# Service tiers.

OPERATIONS: list[tuple[str, dict[str, Any]]] = [
    ("chat/completions", CHAT),
    ("responses", {"model": "gpt-4o-mini", "input": "Hello", "max_output_tokens": 50}),
    ("completions", {"model": "gpt-4o-mini", "prompt": "Hello", "max_tokens": 50}),
    ("embeddings", {"model": "text-embedding-3-small", "input": "Hello"}),
]


@pytest.mark.parametrize(("path", "body"), OPERATIONS, ids=[path for path, _ in OPERATIONS])
async def test_a_tier_that_the_card_cannot_price_is_refused(
    pool: Pool,
    dsn: str,
    upstream: ScriptedUpstream,
    card: Path,
    path: str,
    body: dict[str, Any],
) -> None:
    holder = await create_holder(pool, 1000)
    async with priced(dsn, upstream, card) as http:
        for tier, status, code in (
            ("priority", 403, "service_tier_not_allowed"),
            ("ultrafast", 403, "service_tier_not_allowed"),
            ("", 403, "service_tier_not_allowed"),
            ("Default", 403, "service_tier_not_allowed"),
            (1, 400, "invalid_type"),
            (["flex"], 400, "invalid_type"),
        ):
            asked = {**body, "service_tier": tier}
            response = await http.post(f"/v1/{path}", json=asked, headers=holder.headers)
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (status, code), tier
            assert error["param"] == "service_tier"
            assert "service_tier" in error["message"]
            assert response.headers["x-should-retry"] == "false"
        assert upstream.requests == []
        assert await hold_states(pool, holder) == []
        for tier in ("auto", "default", "standard", "flex", None):
            asked = {**body, "service_tier": tier}
            response = await http.post(f"/v1/{path}", json=asked, headers=holder.headers)
            assert response.status_code == 200, tier
            assert upstream.requests[-1].json()["service_tier"] == tier


async def test_without_a_card_every_tier_costs_its_tokens(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    for tier in ("priority", "ultrafast", 1, None):
        assert (await post(http, holder, service_tier=tier)).status_code == 200
        assert upstream.requests[-1].json()["service_tier"] == tier


# The quote.


@pytest.fixture
def quotes(pool: Pool) -> Quotes:
    return Quotes(pool, read_rate_card(CARD))


async def ask(
    quotes: Quotes, holder: Holder, path: str = "/v1/chat/completions", **body: Any
) -> Quote:
    return await quotes.quote(holder.caller, path, {**CHAT, **body})


@pytest.mark.parametrize("balance", [30, 1000, 10**6])
async def test_a_quote_says_what_the_proxy_then_does(
    pool: Pool,
    dsn: str,
    upstream: ScriptedUpstream,
    card: Path,
    quotes: Quotes,
    balance: int,
) -> None:
    holder = await create_holder(pool, balance)
    quoted = await ask(quotes, holder)
    assert upstream.requests == []
    assert await hold_states(pool, holder) == []
    async with priced(dsn, upstream, card) as http:
        response = await post(http, holder)
    assert quoted.admitted
    assert response.headers["x-tokenbalance-hold"] == str(quoted.hold)
    told = response.headers.get("x-tokenbalance-output-cap")
    assert (told is not None) == quoted.capped
    assert quoted.output_cap == int(told or CHAT["max_tokens"])


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
async def test_whatever_is_asked_a_quote_says_what_the_proxy_then_does(
    pool: Pool, everything_priced: httpx2.AsyncClient, data: st.DataObject
) -> None:
    http = everything_priced
    path, body = data.draw(REQUESTS)
    first = await create_holder(pool, 10**12)
    asked = {"path": path, "body": body}
    wanted = (await http.post("/api/quote", json=asked, headers=first.headers)).json()
    least, most = wanted["minimum"], wanted["hold"]
    near = {0, 1, least - 1, least, least + 1, most - 1, most, most + 1, 1000 * most, 2000 * most}
    holder = await create_holder(
        pool, data.draw(st.sampled_from(sorted(near)) | st.integers(least, 2 * most))
    )

    quoted = (await http.post("/api/quote", json=asked, headers=holder.headers)).json()
    response = await http.post(path, json=body, headers=holder.headers)

    assert response.status_code == (200 if quoted["admitted"] else 402), (quoted, response.text)
    if quoted["admitted"]:
        assert response.headers["x-tokenbalance-hold"] == str(quoted["hold"])
        told = response.headers.get("x-tokenbalance-output-cap")
        assert (told is not None) == quoted["capped"]
        assert told in {None, str(quoted["output_cap"])}
    else:
        assert f"needs {quoted['minimum']} credits" in response.json()["error"]["message"]
        assert not quoted["waits"]


async def test_a_charge_is_right_by_its_own_rates_after_the_card_was_changed(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    holder = await create_holder(pool, 1000)
    charges: list[int] = []
    for rate in ("0.5", "0.25"):
        card = written(tmp_path, CARD.replace("input = 0.5", f"input = {rate}"))
        upstream.script(json_response({"choices": [{"message": MESSAGE}], "usage": USAGE}))
        async with priced(dsn, upstream, card) as http:
            response = await post(http, holder)
            charges.append(int(response.headers["x-tokenbalance-charge"]))
            listed = (await http.get("/api/requests", headers=holder.headers)).json()["data"]
    assert charges == [CHARGE, CHARGE - 1]
    assert [row["rates"]["input"] for row in listed] == ["0.25", "0.5"]
    assert [row["charge"] for row in listed] == charges[::-1]
    assert (await audit(pool)).violations == []


async def test_a_quote_explains_itself(pool: Pool, quotes: Quotes) -> None:
    holder = await create_holder(pool, 1000)
    quoted = await ask(quotes, holder, path="/api/openai/chat/completions/")
    assert quoted.endpoint == "/chat/completions"
    assert (quoted.model, quoted.input_tokens, quoted.choices) == ("gpt-4o-mini", 9, 1)
    # 1 + 9 x 0.5 + 50 x 3, and the same with one token of output.
    assert (quoted.hold, quoted.minimum) == (156, 9)
    assert (quoted.balance, quoted.held, quoted.available) == (1000, 0, 1000)
    assert (quoted.admitted, quoted.waits, quoted.capped) == (True, False, False)
    assert quoted.rates is not None
    assert (quoted.rates["reasoning"], quoted.rates["image_output"]) == ("3", "2")


async def test_a_quote_without_a_card_counts_tokens(pool: Pool) -> None:
    holder = await create_holder(pool, 1000)
    quotes = Quotes(pool)
    quoted = await ask(quotes, holder, n=2)
    assert (quoted.hold, quoted.minimum, quoted.choices) == (109, 11, 2)
    assert quoted.rates is None


async def test_a_quote_says_whether_a_request_would_wait_or_be_refused(
    pool: Pool, quotes: Quotes
) -> None:
    holder = await create_holder(pool, 200)
    await pool.execute("UPDATE accounts SET held = 100 WHERE id = $1", holder.account_id)
    waiting = await ask(quotes, holder)
    assert (waiting.admitted, waiting.waits, waiting.hold) == (False, True, 156)
    await pool.execute("UPDATE accounts SET held = 0 WHERE id = $1", holder.account_id)
    assert (await ask(quotes, holder)).admitted
    await pool.execute(
        "INSERT INTO waiters (account_id, wanted, alive_until)"
        " VALUES ($1, 60, now() + interval '1 minute')",
        holder.account_id,
    )
    behind = await ask(quotes, holder)
    assert (behind.admitted, behind.waits) == (False, True)
    poor = await ask(quotes, await create_holder(pool, 8))
    assert (poor.admitted, poor.waits, poor.minimum, poor.hold) == (False, False, 9, 156)


async def test_what_is_free_is_quoted_as_free(pool: Pool, quotes: Quotes) -> None:
    holder = await create_holder(pool)
    quoted = await quotes.quote(holder.caller, "/v1/moderations", orjson.dumps({"input": "Hello"}))
    assert (quoted.hold, quoted.minimum, quoted.admitted) == (0, 0, True)


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/v1/nothing", b"{}", UnknownUrl),
        ("/v2/chat/completions", b"{}", UnknownUrl),
        ("/v1/nothing?x=1", b"{}", UnknownUrl),
        ("/v1/chat/completions?x=1", b"{}", MissingParameter),
        ("/v1/responses?beta=1", b"{}", InvalidValue),
        ("/v1/chat/completions\0", b"{}", UnknownUrl),
        ("/v1/ch\udcfft", b"{}", UnknownUrl),
        ("/v1/models", b"{}", UnknownUrl),
        ("/v1/fine_tuning/jobs", b"{}", EndpointNotAllowed),
        ("/v1/chat/completions", b"{", InvalidJson),
        ("/v1/chat/completions", b'{"n":1,"n":2}', InvalidJson),
        ("/v1/chat/completions", {"model": "gpt-4o-mini"}, MissingParameter),
        ("/v1/chat/completions", {**CHAT, "messages": 3}, InvalidType),
        ("/v1/chat/completions", {**CHAT, "seed": float("nan")}, InvalidJson),
        ("/v1/chat/completions", {**CHAT, "user": "\ud800"}, InvalidJson),
        ("/v1/chat/completions", {**CHAT, "n": 2**70}, IntegerAboveMaximum),
        ("/v1/chat/completions", {**CHAT, "model": "gpt-6"}, ModelNotFound),
        ("/v1/chat/completions", {**CHAT, "model": "ft:gpt-4o-mini:x"}, ModelNotFound),
        ("/v1/chat/completions", {**CHAT, "service_tier": "priority"}, ServiceTierNotAllowed),
        ("/v1/chat/completions", {**CHAT, "service_tier": 1}, InvalidType),
    ],
)
async def test_a_quote_refuses_what_the_proxy_refuses(
    pool: Pool, quotes: Quotes, path: str, body: Any, error: type[Exception]
) -> None:
    holder = await create_holder(pool, 1000)
    with pytest.raises(error):
        await quotes.quote(holder.caller, path, body)


async def test_a_long_text_is_quoted_like_a_short_one(pool: Pool, quotes: Quotes) -> None:
    holder = await create_holder(pool, 10_000)
    quoted = await ask(quotes, holder, messages=[{**MESSAGES[0], "content": "word " * 2000}])
    assert quoted.input_tokens == 2008
    assert quoted.admitted
