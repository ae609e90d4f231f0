"""With a card of version 2: each charge is the arithmetic of the card, and the hold covers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from math import ceil
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson
import pytest

from tests.support.books import charges_of, create_holder, hold_states
from tests.support.chat import DONE, chunk, content
from tests.support.rate_cards import priced, written
from tests.support.upstream import Response, ScriptedUpstream, event_stream, json_response
from tokenbalance.books.ledger.audit import audit

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool

MODEL: Final = "gpt-6.2-sol"
CARD: Final = """
version = 2

[[models]]
match = "gpt-6.2-sol*"
input = 2
cached_input = 0.1
cache_write = 2.5
cache_write_12h = 5
audio_input = 20
output = 10
reasoning = 12
audio_output = 40
request = 0.25
long = { above = 272000, input = 2, output = 1.5 }
tier = { flex = 0.5, priority = 2, fast = "5/3", ultrafast = 3 }
calls = { web_search = 10000, file_search = 2500, code_interpreter = 30000 }

[[models]]
match = "gpt-image-*"
input = 5
cached_input = 1.25
image_input = 8
cached_image_input = 2
output = 10
image_output = 30
"""
RICH: Final = 10**13
SEARCH: Final = {"type": "web_search"}

Cost: TypeAlias = Callable[[Fraction], Fraction | float]


@dataclass(frozen=True)
class Used:
    """What a request uses, and what that costs by the card above at a tier's factor."""

    path: str
    usage: dict[str, Any]
    cost: Cost
    asked: dict[str, Any] = field(default_factory=dict[str, Any])
    reported: dict[str, Any] = field(default_factory=dict[str, Any])
    """Members of the response beside its usage."""
    words: int = 400
    """Of the request's text, five bytes each: more than what is said to be read."""

    def body(self) -> dict[str, Any]:
        text = "word " * self.words
        if self.path == "responses":
            limited = {"input": text, "max_output_tokens": 50}
        else:
            limited = {"messages": [{"role": "user", "content": text}], "max_tokens": 50}
        return {"model": MODEL, **limited, **self.asked}

    def response(self, tier: str | int, *, streamed: bool) -> Response:
        members: Any = {"service_tier": tier, **self.reported, "usage": self.usage}
        if self.path == "responses":
            document: Any = {"id": "resp_1", "status": "completed", "output": [], **members}
            return stream_of(document) if streamed else json_response(document)
        if streamed:
            return event_stream(content("a"), chunk(choices=[], **members), DONE)
        return json_response({"choices": [{"message": {"content": "a"}}], **members})


def stream_of(response: dict[str, Any]) -> Response:
    """The events of a response: its items come one by one, and all of them again at its end."""
    begun: Any = {
        **response,
        "status": "in_progress",
        "output": [],
        "usage": None,
        "tool_usage": None,
    }
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        *({"type": "response.output_item.done", "item": item} for item in response["output"]),
        {"type": "response.web_search_call.completed", "item_id": "ws_1"},
        {"type": "response.output_text.delta", "delta": "a"},
        {"type": "response.completed", "response": response},
    ]
    return event_stream(*(b"data: " + orjson.dumps(event) + b"\n\n" for event in events))


def of_response(inputs: int, outputs: int, **details: Any) -> dict[str, Any]:
    output_details = {"reasoning_tokens": details.pop("reasoning_tokens", 0)}
    return {
        "input_tokens": inputs,
        "input_tokens_details": details,
        "output_tokens": outputs,
        "output_tokens_details": output_details,
        "total_tokens": inputs + outputs,
    }


LASTING: Final[dict[str, Any]] = {"prompt_cache_options": {"ttl": "12h"}}
WRITTEN: Final[dict[str, Any]] = {
    "cache_write_tokens": 900,
    "cache_write_tokens_details": {"ttl_30m_tokens": 100, "ttl_12h_tokens": 800},
}
DRAWN: Final[dict[str, Any]] = {
    "input_tokens": 60,
    "input_tokens_details": {"image_tokens": 32, "text_tokens": 28},
    "cached_tokens": 20,
    "cached_tokens_details": {"cached_image_tokens": 12, "cached_text_tokens": 8},
    "output_tokens": 1_001,
    "output_tokens_details": {"image_tokens": 1_000, "text_tokens": 1},
    "total_tokens": 1_061,
}
CODE: Final = {"type": "code_interpreter_call", "container_id": "cntr_1", "code": "1"}
PICTURE: Final = {"type": "image_generation_call", "result": "AAAA"}
ECHO: Final = [{"role": "user", "content": "hi"}, CODE, {"type": "file_search_call"}]

USES: Final = {
    "cached, written, reasoned": Used(
        "responses",
        of_response(1_000, 50, cached_tokens=400, cache_write_tokens=300, reasoning_tokens=20),
        lambda tier: (
            tier * (300 * 2 + 400 * Fraction("0.1") + 300 * Fraction("2.5") + 30 * 10 + 20 * 12)
            + Fraction("0.25")
        ),
    ),
    "12-hour writes and searches": Used(
        "responses",
        of_response(1_000, 10, cached_tokens=0, **WRITTEN),
        lambda tier: (
            tier * (100 * 2 + 100 * Fraction("2.5") + 800 * 5 + 10 * 10)
            + Fraction("0.25")
            + 7 * 10_000
        ),
        asked={**LASTING, "tools": [SEARCH]},
        reported={
            "output": [{"type": "web_search_call", "action": {"type": "search"}}] * 7,
            "tool_usage": {"web_search": {"num_requests": 7}},
        },
    ),
    "long": Used(
        "responses",
        of_response(300_000, 10, cached_tokens=100_000),
        lambda tier: (
            tier * (2 * (200_000 * 2 + 100_000 * Fraction("0.1")) + Fraction("1.5") * 10 * 10)
            + Fraction("0.25")
        ),
        words=62_000,
    ),
    "an image and a container": Used(
        "responses",
        of_response(1_000, 10),
        lambda tier: (
            tier * (1_000 * 2 + 10 * 10)
            + (20 * 5 + 8 * Fraction("1.25") + 20 * 8 + 12 * 2 + 1 * 10 + 1_000 * 30)
            + Fraction("0.25")
            + 30_000
        ),
        asked={
            "tools": [
                {"type": "image_generation"},
                {"type": "code_interpreter", "container": {"type": "auto"}},
            ]
        },
        reported={
            "instructions": ECHO,
            "output": [CODE, PICTURE, CODE],
            "tool_usage": {"image_gen": DRAWN, "web_search": {"num_requests": 0}},
        },
    ),
    "a chat with audio": Used(
        "chat/completions",
        {
            "prompt_tokens": 1_000,
            "prompt_tokens_details": {"cached_tokens": 300, "audio_tokens": 200},
            "completion_tokens": 50,
            "completion_tokens_details": {"audio_tokens": 10},
            "total_tokens": 1_050,
        },
        lambda tier: (
            tier * (500 * 2 + 200 * 20 + 300 * Fraction("0.1") + 40 * 10 + 10 * 40)
            + Fraction("0.25")
        ),
        asked={"modalities": ["text", "audio"]},
    ),
}
TIERS: Final[dict[str | None, tuple[str, Fraction]]] = {
    None: ("default", Fraction(1)),
    "flex": ("flex", Fraction("0.5")),
    "fast": ("priority", Fraction(2)),
    "ultrafast": ("ultrafast", Fraction(3)),
    "auto": ("hypersonic", Fraction(3)),
}
"""What is asked for, what is said to be served, and its factor: one is unknown, so the dearest."""


async def ask(
    http: httpx2.AsyncClient, holder: Holder, used: Used, tier: str | None, *, streamed: bool
) -> httpx2.Response:
    body = {**used.body(), "stream": streamed}
    if tier is not None:
        body["service_tier"] = tier
    return await http.post(f"/v1/{used.path}", json=body, headers=holder.headers)


async def test_every_charge_is_the_arithmetic_of_the_card_and_is_held_before(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    holder = await create_holder(pool, RICH)
    cases = list(product(USES, TIERS, (False, True)))
    holds: list[int] = []
    async with priced(dsn, upstream, written(tmp_path, CARD)) as http:
        for name, tier, streamed in cases:
            used = USES[name]
            upstream.script(used.response(TIERS[tier][0], streamed=streamed))
            response = await ask(http, holder, used, tier, streamed=streamed)
            assert response.status_code == 200, (name, tier, response.text)
            holds.append(int(response.headers["x-tokenbalance-hold"]))
    charges = [-charge["amount"] for charge in await charges_of(pool, holder)]
    expected = [ceil(USES[name].cost(TIERS[tier][1])) for name, tier, _ in cases]
    assert dict(zip(cases, charges, strict=True)) == dict(zip(cases, expected, strict=True))
    uncovered = {
        case: (hold, charge)
        for case, hold, charge in zip(cases, holds, charges, strict=True)
        # Nobody asked for the tier that nobody knows.
        if hold < charge and case[1] != "auto"
    }
    assert uncovered == {}
    assert len(cases) >= 40
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize(
    ("body", "usage", "tier", "charge"),
    [
        ({}, (1_000, 10), "default", 1_000 * 5 + 10 * 10 + 7 * 10_000),
        (
            {"service_tier": "ultrafast"},
            (1_000, 10),
            "ultrafast",
            3 * (1_000 * 5 + 10 * 10) + 7 * 10_000,
        ),
        ({}, (300_000, 10), "default", 2 * 300_000 * 5 + 150 + 7 * 10_000),
    ],
    ids=["12-hour write and searches", "ultrafast", "above 272K"],
)
async def test_what_was_charged_as_plain_tokens_is_charged_as_it_is_billed(
    pool: Pool,
    dsn: str,
    upstream: ScriptedUpstream,
    tmp_path: Path,
    body: dict[str, Any],
    usage: tuple[int, int],
    tier: str,
    charge: int,
) -> None:
    holder = await create_holder(pool, RICH)
    inputs, outputs = usage
    written_12h = {"ttl_30m_tokens": 0, "ttl_12h_tokens": inputs}
    details = {"cache_write_tokens": inputs, "cache_write_tokens_details": written_12h}
    used = Used(
        "responses",
        of_response(inputs, outputs, **details),
        Fraction,
        asked={**LASTING, **body},
        reported={"tool_usage": {"web_search": {"num_requests": 7}}},
    )
    upstream.script(used.response(tier, streamed=False))
    async with priced(dsn, upstream, written(tmp_path, CARD.replace("request", "#"))) as http:
        response = await ask(http, holder, used, body.get("service_tier"), streamed=False)
    assert int(response.headers["x-tokenbalance-charge"]) == charge


async def test_a_tier_without_a_factor_is_refused_and_an_unknown_one_in_a_response_is_the_dearest(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    holder = await create_holder(pool, RICH)
    used = USES["cached, written, reasoned"]
    async with priced(dsn, upstream, written(tmp_path, CARD)) as http:
        refused = await ask(http, holder, used, "hypersonic", streamed=False)
        assert (refused.status_code, upstream.requests) == (403, [])
        assert refused.json()["error"]["code"] == "service_tier_not_allowed"
        for tier in ("hypersonic", "Not A Name", 7):
            upstream.script(used.response(tier, streamed=False))
            response = await ask(http, holder, used, None, streamed=False)
            charge = int(response.headers["x-tokenbalance-charge"])
            assert charge == ceil(used.cost(Fraction(3)))
    assert await hold_states(pool, holder) == ["settled"] * 3


SEARCHED = [
    {"type": "web_search_call", "id": "ws1", "action": {"type": "search", "query": "a"}},
    {"type": "web_search_call", "id": "ws2", "action": {"type": "open_page", "url": "b"}},
]


async def test_calls_are_charged_where_a_stream_breaks_off_before_its_usage(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    holder = await create_holder(pool, RICH)
    events: list[Any] = [
        {"type": "response.created", "response": {"output": [], "usage": None}},
        # The end of a call is reported twice, by itself and by its item, which knows what it did.
        {"type": "response.web_search_call.completed", "item_id": "ws1"},
        *[{"type": "response.output_item.done", "item": item} for item in SEARCHED],
        {"type": "response.web_search_call.completed", "item_id": "ws3"},
        *[{"type": "response.code_interpreter_call.completed", "item_id": "ci"}] * 2,
        {"type": "response.output_text.delta", "delta": "one two three"},
    ]
    upstream.script(event_stream(*(b"data: " + orjson.dumps(e) + b"\n\n" for e in events)))
    body = {"model": MODEL, "input": "Hello", "stream": True, "tools": [SEARCH]}
    async with priced(dsn, upstream, written(tmp_path, CARD)) as http:
        _ = await http.post("/v1/responses", json=body, headers=holder.headers)
    (charge,) = await charges_of(pool, holder)
    tokens = ceil(charge["input"] * 2 + charge["output"] * 10 + Fraction("0.25"))
    assert (charge["estimated"], charge["output"]) == (True, 3)
    assert -charge["amount"] == tokens + 2 * 10_000 + 30_000


async def test_the_search_of_a_chat_is_charged_although_nothing_reports_it(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    holder = await create_holder(pool, RICH)
    body: Any = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "What is new?"}],
        "max_tokens": 50,
        "web_search_options": {},
    }
    usage: Any = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}
    reported: Any = {"choices": [{"message": {"content": "a"}}], "usage": usage}
    uncounted: Any = {"choices": [{"message": {"content": "one two three"}}]}
    headers = [("content-type", "application/json"), ("content-encoding", "unheard-of")]
    unreadable = Response(headers=headers, body=b"\x01\x02\x03")
    charges: list[int] = []
    async with priced(dsn, upstream, written(tmp_path, CARD)) as http:
        for answer in (json_response(reported), json_response(uncounted), unreadable):
            upstream.script(answer)
            response = await http.post("/v1/chat/completions", json=body, headers=holder.headers)
            charges.append(int(response.headers["x-tokenbalance-charge"]))
            assert 10_000 < charges[-1] <= int(response.headers["x-tokenbalance-hold"])
    assert charges[0] == ceil(9 * 2 + 7 * 10 + Fraction("0.25")) + 10_000
    assert (await audit(pool)).violations == []
