"""A quote says what the proxy then does, and refuses what the proxy refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.books import create_holder, hold_states
from tests.support.chat import CHAT, MESSAGES
from tests.support.rate_cards import CARD, post, priced, written
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
from tokenbalance.proxy import asked
from tokenbalance.proxy.quote import Quotes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool
    from tokenbalance.proxy.quote import Quote


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
async def everything_priced(
    dsn: str, upstream: ScriptedUpstream, tmp_path: Path
) -> AsyncIterator[httpx2.AsyncClient]:
    async with priced(dsn, upstream, written(tmp_path, EVERYTHING), hold_wait_s=0) as http:
        yield http


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
        message = response.json()["error"]["message"]
        needed = (
            f"needs {quoted['minimum']} credits",
            "needs more than",
            "needs 1 credit or more,",
        )
        assert any(each in message for each in needed)
        assert not quoted["waits"]


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


async def test_a_text_that_no_model_reads_is_counted_only_as_far_as_the_account_affords(
    pool: Pool, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "QUOTED_TOKENS_MAX", 20_000)
    words = "All work and no play makes Jack a dull boy. " * 8_000
    body = {**CHAT, "messages": [{"role": "user", "content": words}]}
    quoted: list[Any] = []
    for balance in (10, 200_000):
        holder = await create_holder(pool, balance)
        request = {"path": "/v1/chat/completions", "body": body}
        response = await http.post("/api/quote", json=request, headers=holder.headers)
        quoted.append(response.json())
    poor, rich = quoted
    assert (poor["admitted"], rich["admitted"]) == (False, True)
    assert 80_000 < rich["input_tokens"] < 100_000
    assert len(words) < poor["input_tokens"] < len(words) + 100
    assert poor["minimum"] > rich["minimum"]
