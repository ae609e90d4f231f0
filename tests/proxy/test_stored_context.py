"""What the upstream stores is held for: by what is known of it, by its count, or by the window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.support.books import create_holder, hold_states
from tests.support.product import serving
from tests.support.remembering import COUNTS, RESPONSES, Remembering
from tests.support.responses import Gate, Response, json_response
from tokenbalance.model.objects import Found
from tokenbalance.openai.objects.found import found_in
from tokenbalance.openai.tokens.models import model_for
from tokenbalance.owners.registry import Owners
from tokenbalance.proxy import stored
from tokenbalance.proxy.quote import Quotes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

MODEL = "gpt-4o-mini"
WINDOW = model_for(MODEL).context
ANSWER = 16_384
"""The model's longest output, which a request without a limit is held for."""
RICH = 10_000_000


@dataclass(frozen=True)
class Client:
    """Somebody who talks to the product, and an upstream that remembers."""

    http: httpx2.AsyncClient
    pool: Pool
    upstream: ScriptedUpstream
    memory: Remembering
    holder: Holder

    async def ask(self, expect: int = 200, /, **fields: Any) -> httpx2.Response:
        body = {"model": MODEL, "input": "How are you?", **fields}
        response = await self.http.post("/responses", json=body, headers=self.holder.headers)
        assert response.status_code == expect, response.text
        if expect == 200:
            found = found_in(RESPONSES, response.json())
            await Owners(self.pool).record(self.holder.caller, found)
            # What was held covers what was charged.
            assert held(response) >= charged(response)
        return response

    async def own(self, kind: str, name: str, **fields: Any) -> str:
        await Owners(self.pool).record(self.holder.caller, [Found(kind, name, **fields)])
        return name

    @property
    def counts(self) -> int:
        """How often the upstream was asked for the length of an input."""
        return sum(each.target.startswith(COUNTS) for each in self.upstream.requests)

    async def balance(self, credits_: int) -> None:
        await self.pool.execute("UPDATE accounts SET balance = $1", credits_)


def held(response: httpx2.Response) -> int:
    return int(response.headers["x-tokenbalance-hold"])


def charged(response: httpx2.Response) -> int:
    return int(response.headers["x-tokenbalance-charge"])


@pytest.fixture
async def client(pool: Pool, dsn: str, upstream: ScriptedUpstream) -> AsyncIterator[Client]:
    memory = Remembering()
    upstream.always(memory)
    async with (
        serving(dsn, upstream.base_url) as url,
        httpx2.AsyncClient(base_url=f"{url}/v1", timeout=30) as http,
    ):
        yield Client(http, pool, upstream, memory, await create_holder(pool, RICH))


# Ten turns.


async def test_a_response_that_is_continued_says_itself_how_much_is_read(client: Client) -> None:
    previous = (await client.ask()).json()
    for _ in range(10):
        read = previous["usage"]["total_tokens"]
        response = await client.ask(previous_response_id=previous["id"], max_output_tokens=40)
        previous = response.json()
        assert previous["usage"]["input_tokens"] > read
        assert held(response) <= read + 150
    assert client.memory.inputs == sorted(set(client.memory.inputs))
    assert client.counts == 0


async def test_the_upstream_counts_what_a_conversation_holds(client: Client) -> None:
    name = await client.own("conversation", "conv_1")
    for shape in [name, {"id": name}] * 5:
        response = await client.ask(conversation=shape, max_output_tokens=40)
        assert held(response) <= client.memory.inputs[-1] + 50
    assert client.counts == 10
    assert client.memory.inputs == sorted(set(client.memory.inputs))


async def test_it_is_asked_with_the_fields_that_it_counts_and_no_others(client: Client) -> None:
    name = await client.own("conversation", "conv_1")
    fields = {"instructions": "Be brief.", "text": {"verbosity": "low"}, "truncation": "auto"}
    await client.ask(conversation=name, **fields, metadata={"a": "b"}, store=True, temperature=0)
    asked, sent = client.upstream.requests
    assert asked.json() == {"model": MODEL, "input": "How are you?", "conversation": name, **fields}
    assert asked.header("authorization") == sent.header("authorization")
    beta = {"model": MODEL, "input": "Hi", "conversation": name}
    await client.http.post("/responses?beta=true", json=beta, headers=client.holder.headers)
    assert client.upstream.requests[2].target == COUNTS + b"?beta=true"


# What is asked for, and what is not.


async def test_what_another_model_has_used_is_no_measure(client: Client) -> None:
    name = (await client.ask(model="gpt-4o")).json()["id"]
    await client.ask(previous_response_id=name)
    assert client.counts == 1
    await client.ask(model="gpt-4o", previous_response_id=name)
    await client.ask(model="gpt-4o-2026-03-17", previous_response_id=name)
    assert client.counts == 1


async def test_a_response_of_which_too_little_is_known_is_counted(client: Client) -> None:
    made = f'{{"model": "{MODEL}"}}'
    unfinished = {"tokens": 9, "state": "in_progress", "snapshot": made}
    for number, fields in enumerate([{"snapshot": made}, unfinished, {"tokens": 9}]):
        name = await client.own("response", f"resp_old_{number}", **fields)
        client.memory.stored[name] = 70_000
        response = await client.ask(previous_response_id=name)
        assert (client.counts, held(response) > 70_000) == (number + 1, True)


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


IMAGE = {"type": "input_image", "file_id": "file_1"}
FILE = {"type": "input_file", "file_id": "file_1"}


READ_BY_THE_MODEL: list[dict[str, Any]] = [
    {"input": user(FILE)},
    {"input": user(FILE, FILE)},
    {"input": [{"type": "item_reference", "id": "msg_0"}]},
    {"input": [{"id": "msg_0"}]},
    {"input": [{"type": "reasoning", "id": "msg_0", "summary": []}]},
    {"input": [{"type": "image_generation_call", "id": "msg_0"}]},
]
BOUNDED_BY_RULE: list[dict[str, Any]] = [
    {"input": user(IMAGE)},
    {"prompt_cache_options": {"comparison_response_id": "resp_0"}},
    {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
    {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]},
    {"tools": [{"type": "code_interpreter", "container": {"file_ids": ["file_1"]}}]},
]


async def test_what_the_model_reads_is_counted_and_what_a_tool_reads_has_an_allowance(
    client: Client,
) -> None:
    for kind, name in [("file", "file_1"), ("item", "msg_0"), ("response", "resp_0")]:
        await client.own(kind, name)
    await client.own("vector_store", "vs_1")
    await client.own("container", "cntr_1")
    for fields in BOUNDED_BY_RULE:
        await client.ask(**fields)
        assert client.counts == 0, fields
    for number, fields in enumerate(READ_BY_THE_MODEL, 1):
        await client.ask(**fields)
        assert client.counts == number, fields


async def test_a_file_at_a_url_may_be_another_one_when_it_is_read(client: Client) -> None:
    name = await client.own("conversation", "conv_1")
    file = {"type": "input_file", "file_url": "https://example.com/a.pdf"}
    response = await client.ask(conversation=name, input=user(file))
    assert (client.counts, held(response) >= WINDOW + ANSWER) == (0, True)


async def test_a_stored_file_in_a_chat_is_held_for_by_the_window(client: Client) -> None:
    await client.own("file", "file_1")
    file = {"type": "file", "file": {"file_id": "file_1"}}
    messages = [{"role": "user", "content": [file, file]}]
    body = {"model": MODEL, "messages": messages, "max_tokens": 10}
    client.upstream.script(json_response({"usage": {"prompt_tokens": 9, "total_tokens": 9}}))
    response = await client.http.post("/chat/completions", json=body, headers=client.holder.headers)
    assert held(response) == WINDOW + 10


async def test_tools_that_the_upstream_runs_read_what_is_stored_at_every_turn(
    client: Client,
) -> None:
    name = await client.own("conversation", "conv_1")
    client.memory.stored[name] = 10_000
    tools = [{"type": "web_search"}]
    shown = held(await client.ask(tools=tools, max_tool_calls=2))
    response = await client.ask(tools=tools, max_tool_calls=2, conversation=name)
    assert held(response) >= shown + 3 * 10_000


# The upstream does not count.


NO_COUNTS = (
    Response(status=500, body=b"{}"),
    Response(status=404, body=b'{"error": {"message": "no such thing"}}'),
    Response(body=b"no json"),
    Response(body=b"[]"),
    Response(body=b'{"input_tokens": "9"}'),
    Response(body=b'{"input_tokens": true}'),
    Response(body=b'{"input_tokens": -9}'),
    Response(body=b'{"input_tokens": 9, "more": "' + b"x" * 200_000 + b'"}'),
    Response(body=b'{"input_tokens": 9}', cut_after=5),
    Response(body=b'{"input_tokens": 100000000000000000}'),
)


async def test_without_a_count_the_whole_window_is_held(client: Client) -> None:
    name = await client.own("conversation", "conv_1")
    for answer in NO_COUNTS:
        client.memory.answer = answer
        response = await client.ask(conversation=name)
        assert held(response) == WINDOW + ANSWER, answer


async def test_an_upstream_that_counts_slowly_is_not_waited_for(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "PATIENCE_S", 0.05)
    name = await client.own("conversation", "conv_1")
    gate = Gate()
    client.memory.answer = Response(head_gate=gate)
    response = await client.ask(conversation=name)
    gate.open()
    assert held(response) == WINDOW + ANSWER


async def test_a_balance_that_does_not_cover_the_window_is_told_why(client: Client) -> None:
    name = await client.own("conversation", "conv_1")
    client.memory.answer = Response(status=500, body=b"{}")
    await client.balance(WINDOW)
    message = (await client.ask(402, conversation=name)).json()["error"]["message"]
    assert f"needs {WINDOW + 16} credits" in message
    assert "could not be counted" in message
    assert client.memory.inputs == []
    assert await hold_states(client.pool, client.holder) == []


async def test_what_is_counted_too_low_is_charged_as_it_is_reported(client: Client) -> None:
    name = await client.own("conversation", "conv_1")
    client.memory.stored[name] = 5_000
    client.memory.answer = json_response({"input_tokens": 3})
    body = {"model": MODEL, "input": "Hi", "conversation": name, "max_output_tokens": 40}
    response = await client.http.post("/responses", json=body, headers=client.holder.headers)
    assert charged(response) == response.json()["usage"]["total_tokens"] > held(response)
    assert await client.pool.fetchval("SELECT overrun FROM ledger WHERE kind = 'charge'") > 0


# A small balance.


async def test_a_small_balance_limits_the_output_or_is_too_small_for_the_input(
    client: Client,
) -> None:
    previous = await client.own(
        "response", "resp_0", tokens=2_000, snapshot=f'{{"model": "{MODEL}"}}'
    )
    client.memory.stored[previous] = 2_000
    client.memory.output_tokens = 1_000
    await client.balance(2_000)
    message = (await client.ask(402, previous_response_id=previous)).json()["error"]["message"]
    assert "this request needs 21" in message
    assert "counted" not in message
    await client.balance(2_200)
    response = await client.ask(previous_response_id=previous)
    assert held(response) == 2_200
    assert int(response.headers["x-tokenbalance-output-cap"]) < 110
    assert 2_100 < charged(response) <= 2_200


async def test_who_has_nothing_or_no_key_any_more_has_nothing_counted(client: Client) -> None:
    name = await client.own("conversation", "conv_1")
    await client.ask(conversation=name)
    await client.balance(0)
    await client.ask(402, conversation=name)
    await client.balance(RICH)
    await client.pool.execute("UPDATE api_keys SET revoked_at = now()")
    await client.ask(401, conversation=name)
    assert client.counts == 1


# Nothing is reported.


async def test_what_was_stored_is_charged_where_no_usage_is_reported(client: Client) -> None:
    name = await client.own("conversation", "conv_1")
    client.memory.stored[name] = 5_000
    text = b'data: {"type":"response.output_text.delta","delta":"one two three"}\n\n'
    headers = (("content-type", "text/event-stream"),)
    client.upstream.script(client.memory, Response(headers=headers, body=[text]))
    await client.http.post(
        "/responses",
        json={"model": MODEL, "input": "Hi", "conversation": name, "stream": True},
        headers=client.holder.headers,
    )
    row = await client.pool.fetchrow("SELECT * FROM ledger WHERE kind = 'charge'")
    assert row
    assert (row["estimated"], 5_000 < -row["amount"] < 5_030) == (True, True)


# Quotes.


async def test_a_quote_says_what_is_known_and_asks_nobody(client: Client) -> None:
    quotes = Quotes(client.pool)
    caller = replace(client.holder.caller, available=RICH, limit=RICH)
    first = (await client.ask()).json()
    body = {"model": MODEL, "input": "How are you?", "max_output_tokens": 40}
    known = await quotes.quote(
        caller, "/v1/responses", {**body, "previous_response_id": first["id"]}
    )
    response = await client.ask(previous_response_id=first["id"], max_output_tokens=40)
    assert (known.hold, known.assumptions) == (held(response), ())
    name = await client.own("conversation", "conv_1")
    unknown = await quotes.quote(caller, "/v1/responses", {**body, "conversation": name})
    assert (unknown.input_tokens, unknown.hold) == (WINDOW, WINDOW + 40)
    (assumption,) = unknown.assumptions
    assert assumption.name == "stored_context"
    assert assumption.credits > WINDOW - 100
    assert client.counts == 0
