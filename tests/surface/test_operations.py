"""The rows of the table: each says everything, and one more row opens one more operation."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.books import Holder, create_holder, hold_states
from tests.support.product import serving
from tests.support.upstream import ScriptedUpstream
from tokenbalance.errors import UnknownUrl
from tokenbalance.openai import OPERATIONS, Surface, find_operation
from tokenbalance.openai.estimate import bound
from tokenbalance.openai.examples.text import MODERATION_EXAMPLES
from tokenbalance.openai.families import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    FREE,
    INPUT_TOKENS,
    READ,
    RESPONSES,
)
from tokenbalance.openai.operation import Answer, Body, Examples, Operation
from tokenbalance.sandbox.app import create_sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tokenbalance.database.connections import Pool

OPERATIONS_CSV = Path(__file__).parents[2].parent / "shared" / "data" / "openai-operations.csv"
EVERY = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")

READ_AS = {Body.JSON: "json", Body.FORM: "multipart"}
ANSWERS = {
    "binary": {Answer.BYTES},
    # The SDK does not read what comes.
    "empty": {Answer.NOTHING, Answer.JSON},
    "binary+sse": {Answer.BYTES, Answer.JSON},
    "json+sse": {Answer.EVENTS, Answer.JSON},
}
"""By what the list says; a stream that is charged is one of `Answer.JSON`."""
MORE = {"/skills/{skill_id}/versions": {"skill_version"}}
"""Kinds that more is recorded of than the list asks for, so that cursors can be checked."""
REPEATED: dict[str, set[str]] = {
    "GET /conversations/{conversation_id}/items": {"listed_item"},
    "GET /conversations/{conversation_id}/items/{item_id}": set(),
    "POST /responses/compact": set(),
    "POST /responses/compact?beta=true": set(),
    "GET /responses/{response_id}/input_items": {"listed_item"},
    "GET /responses/{response_id}/input_items?beta=true": {"listed_item"},
}
"""Operations that repeat items of the input, whose ids clients may have written."""

NEW = (
    Operation("POST", "/new/chats", CHAT, "New chats"),
    Operation("POST", "/new/completions", COMPLETIONS, "New completions"),
    Operation("POST", "/new/embeddings", EMBEDDINGS, "New embeddings"),
    Operation("POST", "/new/responses", RESPONSES, "New responses"),
    Operation("POST", "/new/input_tokens", INPUT_TOKENS, "New input tokens"),
    Operation("POST", "/new/things", FREE, "New things", own_examples=MODERATION_EXAMPLES),
    Operation(
        "GET",
        "/new/things/{thing}",
        READ,
        "One new thing",
        uses=("thing",),
        own_examples=Examples({}, {"id": "thing_1"}, parameters={"thing": "thing_1"}),
    ),
)
SURFACE = Surface((*OPERATIONS, *NEW))
CHARGED = tuple(one for one in NEW if one.charged)
FREE_OF_CHARGE = tuple(one for one in NEW if not one.charged)


def each(operations: tuple[Operation, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("operation", operations, ids=lambda one: one.path)


def kinds_of(specs: Iterable[str]) -> set[str]:
    return {spec.partition(":")[0] for spec in specs if ":$" in spec} - {"sse", "event"}


def examples_of(operation: Operation) -> Examples:
    assert operation.examples
    return operation.examples


# What a row says


@EVERY
def test_a_row_says_everything_that_is_shown_of_it(operation: Operation) -> None:
    assert operation.summary
    assert operation.family.tariff.text
    assert ("the hold covers" in operation.metering) is operation.charged
    assert "free" in operation.metering or operation.charged
    examples = examples_of(operation)
    assert examples.response or operation.answer in {Answer.BYTES, Answer.NOTHING}
    assert examples.parameters.keys() == set(re.findall(r"\{(\w+)\}", operation.path))
    assert bool(examples.requests) is bool(operation.bodies)


@EVERY
def test_what_is_charged_is_bounded(operation: Operation) -> None:
    if operation.charged:
        assert operation.ceiling
        assert operation.ceiling.covers
    for document in examples_of(operation).requests.values():
        most = bound(operation, document)
        assert bool(most.input_tokens or most.more) is (operation.ceiling is not None)


@EVERY
def test_a_stream_in_the_examples_is_one_that_can_be_asked_for(operation: Operation) -> None:
    streamed = bool(examples_of(operation).stream)
    family = operation.family
    assert streamed is (operation.charged and family.has_output and family.streams)


@pytest.mark.skipif(
    not OPERATIONS_CSV.exists(), reason=f"../shared/data/{OPERATIONS_CSV.name} is absent"
)
@EVERY
def test_a_row_agrees_with_the_list_of_openais_operations(operation: Operation) -> None:
    with OPERATIONS_CSV.open(encoding="utf-8") as lines:
        rows = {(row["method"], row["path"]): row for row in csv.DictReader(lines)}
    row = rows[operation.method, operation.path]
    read = {READ_AS[body] for body in operation.bodies} or {"none"}
    assert read == set(row["request"].split("+"))
    assert operation.answer in ANSWERS.get(row["answer"], {Answer.JSON})
    # What is stored is charged by the day.
    assert operation.charged is (row["cost"] not in {"free", "job:storage_gb_day"})
    expected = kinds_of(re.split(r"[;|]", f"{row['creates']};{row['derived']}"))
    repeated = REPEATED.get(f"{operation.method} {operation.path}")
    if repeated is not None:
        expected = expected - {"item"} | repeated
    assert kinds_of(operation.creates) == expected | MORE.get(operation.path, set())
    listed, _, queried = row["lists"].partition("(")
    assert (operation.lists or "") == listed
    assert set(re.findall(r"\w+", queried.partition(";")[0])) <= set(operation.query)
    assert [f"{kind}:" for kind in operation.uses] == re.findall(r"\w+:", row["uses"])
    assert (operation.deletes or "") == row["deletes"]
    assert (operation.family.place is None) <= (not row["refs"])


# One row more


@dataclass(frozen=True)
class Opened:
    """A product whose table has the new rows, with a sandbox that serves the same table."""

    http: httpx2.AsyncClient
    pool: Pool
    upstream: ScriptedUpstream
    holder: Holder

    async def post(self, path: str, body: object) -> httpx2.Response:
        return await self.http.post(path, json=body, headers=self.holder.headers)

    async def charge(self) -> tuple[int, bool]:
        """What the only request was charged, and whether that is an estimate."""
        await self.upstream.until(lambda: not self.upstream.open)
        row = await self.pool.fetchrow("SELECT amount, estimated FROM ledger WHERE kind = 'charge'")
        assert row
        return -row["amount"], row["estimated"]


@pytest.fixture
async def opened(pool: Pool, dsn: str) -> AsyncIterator[Opened]:
    sandbox = create_sandbox(pace_s=0.0, surface=SURFACE)
    async with (
        ScriptedUpstream(sandbox) as upstream,
        serving(dsn, upstream.base_url, SURFACE) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as http,
    ):
        yield Opened(http, pool, upstream, await create_holder(pool, 10**6))


async def own_thing(opened: Opened) -> None:
    """Have the holder own what the new rows name in their paths."""
    await opened.pool.execute(
        "INSERT INTO objects (account_id, object_id, kind) VALUES ($1, 'thing_1', 'thing')",
        opened.holder.account_id,
    )


@each(NEW)
def test_a_new_row_is_matched_where_it_is_in_the_table_alone(operation: Operation) -> None:
    path = operation.path.replace("{thing}", "thing_1").encode()
    assert SURFACE.find(operation.method, path) is operation
    with pytest.raises(UnknownUrl):
        find_operation(operation.method, path)


@each(CHARGED)
async def test_a_new_row_of_a_known_kind_is_quoted_held_and_charged(
    opened: Opened, operation: Operation
) -> None:
    request: Any = next(iter(examples_of(operation).requests.values()))
    path = f"/v1{operation.path}"
    quote = (await opened.post("/api/quote", {"path": path, "body": request})).json()
    assert (quote["endpoint"], quote["admitted"]) == (operation.path, True)
    assert quote["hold"] >= bound(operation, request).least_input > 0

    response = await opened.post(path, request)
    assert response.status_code == 200, response.text
    used = response.json()["usage"]["total_tokens"]
    assert int(response.headers["x-tokenbalance-hold"]) == quote["hold"] >= used
    assert int(response.headers["x-tokenbalance-charge"]) == used
    assert await opened.charge() == (used, False)
    row = await opened.pool.fetchrow("SELECT endpoint, state FROM ledger WHERE state IS NOT NULL")
    assert tuple(row or ()) == (operation.path, "settled")


@each(tuple(one for one in CHARGED if one.family.has_output))
async def test_a_stream_of_a_new_row_is_charged_by_its_usage(
    opened: Opened, operation: Operation
) -> None:
    request: Any = next(iter(examples_of(operation).requests.values()))
    response = await opened.post(f"/v1{operation.path}", {**request, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    amount, estimated = await opened.charge()
    assert (amount > bound(operation, request).output_minimum, estimated) == (True, False)
    # The proxy asked for the usage on its own where the kind of operation needs that.
    asked = opened.upstream.requests[0].json().get("stream_options")
    assert (asked == {"include_usage": True}) is operation.family.reports_on_request


@each(FREE_OF_CHARGE)
async def test_a_new_row_that_is_free_is_relayed_without_a_hold(
    opened: Opened, operation: Operation
) -> None:
    if operation.uses:
        await own_thing(opened)
    requests: Any = [*examples_of(operation).requests.values(), None]
    response = await opened.http.request(
        operation.method,
        f"/v1{operation.path.replace('{thing}', 'thing_1')}",
        json=requests[0],
        headers=opened.holder.headers,
    )
    assert response.status_code == 200, response.text
    assert response.json().keys() == examples_of(operation).response.keys()
    assert "x-tokenbalance-charge" not in response.headers
    assert await hold_states(opened.pool, opened.holder) == []


async def test_a_new_row_refuses_what_its_kind_refuses(opened: Opened) -> None:
    body = {"model": "gpt-5.4-mini", "input": "Hi", "prompt": {"id": "pmpt_1"}}
    for path in ("/v1/new/responses", "/v1/new/input_tokens"):
        error = (await opened.post(path, body)).json()["error"]
        assert (error["code"], error["param"]) == ("unsupported_parameter", "prompt")
    error = (await opened.post("/v1/new/chats", {"model": "gpt-5.4-mini"})).json()["error"]
    assert (error["code"], error["param"]) == ("missing_required_parameter", "messages")
    assert opened.upstream.requests == []


async def test_new_rows_are_documented_by_example_and_counted_by_their_path(
    opened: Opened,
) -> None:
    paths = (await opened.http.get("/openapi.json")).json()["paths"]
    for operation in NEW:
        described = paths[f"/v1{operation.path}"][operation.method.lower()]
        assert described["summary"] == operation.summary
        assert operation.metering in described["description"]
        shown = described["responses"]["200"]["content"]["application/json"]["example"]
        assert shown == examples_of(operation).response
        assert ("402" in described["responses"]) is operation.charged
        path = f"/v1{operation.path.replace('{thing}', 'thing_1')}"
        await opened.http.request(operation.method, path, headers=opened.holder.headers)
    page = (await opened.http.get("/metrics")).text
    counted = {
        sample.labels["endpoint"]
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "tokenbalance_requests_total"
    }
    assert {operation.path for operation in NEW} <= counted


async def test_a_refusal_names_what_is_open_new_rows_too(opened: Opened) -> None:
    response = await opened.http.put("/v1/new/chats", headers=opened.holder.headers)
    assert "only accepts POST" in response.json()["error"]["message"]


def test_a_row_without_examples_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="POST /new/things has no examples"):
        _ = Surface((*OPERATIONS, Operation("POST", "/new/things", FREE, "New things")))
