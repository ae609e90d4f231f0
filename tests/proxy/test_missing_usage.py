"""Usage that is missing, makes no sense or cannot be all of it is counted, and flagged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.books import account_of, charges_of, create_holder
from tests.support.chat import CHAT, DONE, MESSAGES, chunk, content
from tests.support.upstream import ScriptedUpstream, event_stream, json_response
from tokenbalance.openai.estimate import UsageCounter

if TYPE_CHECKING:
    import httpx2

    from tests.support.chat import Sdk
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Usage


async def test_missing_usage_is_counted_and_flagged(pool: Pool, sdk: Sdk) -> None:
    holder = await create_holder(pool, 1000)
    stream = await sdk(holder).chat.completions.create(
        model="no-usage", messages=MESSAGES, stream=True, max_tokens=30
    )
    text = "".join(
        [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    )
    assert text
    (charge,) = await charges_of(pool, holder)
    assert charge["estimated"]
    assert charge["input"] == 9
    assert charge["output"] == 30


@pytest.mark.parametrize("total", [-5, 1e30, "12", None, True, [3]])
async def test_usage_that_makes_no_sense_is_counted_instead(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, total: object
) -> None:
    holder = await create_holder(pool, 1000)
    usage: Any = {"prompt_tokens": total, "completion_tokens": total, "total_tokens": total}
    message: Any = {"role": "assistant", "content": "one two three"}
    upstream.script(json_response({"choices": [{"index": 0, "message": message}], "usage": usage}))
    await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    (charge,) = await charges_of(pool, holder)
    assert charge["estimated"]
    assert (charge["input"], charge["output"]) == (9, 3)


ZEROS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
SHORT = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 11}


@pytest.mark.parametrize("usage", [ZEROS, SHORT, {**ZEROS, "total_tokens": 3}])
@pytest.mark.parametrize("stream", [True, False])
async def test_zeros_beside_text_and_a_total_below_its_parts_are_counted_instead(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    usage: Any,
    *,
    stream: bool,
) -> None:
    holder = await create_holder(pool, 1000)
    choice: Any = {"index": 0, "message": {"role": "assistant", "content": "one two three"}}
    upstream.script(
        event_stream(content("one two"), content(" three"), chunk(choices=[], usage=usage), DONE)
        if stream
        else json_response({"choices": [choice], "usage": usage})
    )
    body = {**CHAT, "stream": stream}
    await http.post("/v1/chat/completions", json=body, headers=holder.headers)
    (charge,) = await charges_of(pool, holder)
    assert (charge["input"], charge["output"], charge["estimated"]) == (9, 3, True)
    assert (await account_of(pool, holder)).balance == 988


def one_of_three(text: str, index: int) -> bytes:
    return chunk(choices=[{"index": index, "delta": {"content": text}, "finish_reason": None}])


@pytest.mark.parametrize("reported", [True, False])
@pytest.mark.parametrize("stream", [True, False])
async def test_several_choices_with_the_usage_of_one_or_none_are_counted_one_by_one(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    *,
    reported: bool,
    stream: bool,
) -> None:
    holder = await create_holder(pool, 1000)
    texts = [" wonderful", " international", " transportation"]
    usage: Any = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    ending: dict[str, Any] = {"usage": usage} if reported else {}
    halves = [text[:5] for text in texts], [text[5:] for text in texts]
    events = [one_of_three(text, index) for half in halves for index, text in enumerate(half)]
    choices: Any = [{"index": i, "message": {"content": text}} for i, text in enumerate(texts)]
    upstream.script(
        event_stream(*events, chunk(choices=[], **ending), DONE)
        if stream
        else json_response({"choices": choices, **ending})
    )
    body = {**CHAT, "n": 3, "stream": stream}
    await http.post("/v1/chat/completions", json=body, headers=holder.headers)
    (charge,) = await charges_of(pool, holder)
    assert (charge["input"], charge["output"], charge["estimated"]) == (9, 3, True)


@pytest.mark.parametrize("balance", [1000, 60, 21])
@pytest.mark.parametrize("n", [1, 2])
async def test_what_is_counted_is_never_more_than_the_limit_that_was_sent(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, balance: int, n: int
) -> None:
    holder = await create_holder(pool, balance)
    events = [one_of_three("one two three four " * 50, index) for index in range(n)]
    upstream.script(event_stream(*events, DONE))
    body = {**CHAT, "n": n, "stream": True}
    await http.post("/v1/chat/completions", json=body, headers=holder.headers)
    (charge,) = await charges_of(pool, holder)
    sent = upstream.requests[0].json()["max_tokens"]
    assert (charge["output"], charge["estimated"]) == (n * sent, True)
    assert charge["total"] <= charge["held"]
    assert (await account_of(pool, holder)).balance >= 0


async def test_what_cannot_be_counted_costs_the_hold(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def count(_counter: UsageCounter, *_texts: str) -> Usage:
        msg = "cannot count"
        raise ValueError(msg)

    monkeypatch.setattr(UsageCounter, "__call__", count)
    holder = await create_holder(pool, 1000)
    upstream.script(event_stream(content("one"), DONE))
    response = await http.post(
        "/v1/chat/completions", json={**CHAT, "n": 2, "stream": True}, headers=holder.headers
    )
    assert response.content == content("one") + DONE
    (charge,) = await charges_of(pool, holder)
    assert charge["output"] == 2 * CHAT["max_tokens"]
    assert (charge["total"], charge["estimated"]) == (charge["held"], True)
