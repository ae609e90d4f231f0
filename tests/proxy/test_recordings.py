"""Exchanges with the API, replayed through real sockets: byte for byte, charged as recorded."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from tests.support.books import Holder, create_holder
from tests.support.recordings import Recording, how_many, recordings
from tests.support.upstream import Response, ScriptedUpstream, replay
from tokenbalance.errors import ProxyError
from tokenbalance.model.objects import Found
from tokenbalance.openai import find_operation
from tokenbalance.openai.documents import parse_document
from tokenbalance.openai.objects.models import visible_models
from tokenbalance.openai.objects.refusal import references_of
from tokenbalance.openai.operation import Body
from tokenbalance.owners.registry import Owners

if TYPE_CHECKING:
    import httpx2

    from tests.support.upstream import Received
    from tokenbalance.database.connections import Pool

AT_ONCE = 16
RICH = 10**12
# Refused before they are sent, each by a rule of its own.
REFUSED_PARAMS = ("prompt", "background", "tools[", "input[", "messages[")


def served() -> list[Recording]:
    """The recordings of endpoints that are open here."""
    return [recording for recording in recordings() if _is_served(recording)]


def _is_served(recording: Recording) -> bool:
    path = recording.path.partition("?")[0].removeprefix("/v1").encode()
    try:
        operation = find_operation(recording.method, path)
    except ProxyError:
        return False
    # Forms are not recorded byte for byte, and a list is of what its caller has.
    is_form = Body.FORM in operation.bodies and "json" not in (recording.request_content_type or "")
    is_list = bool(operation.lists) and not operation.uses and not operation.of_models
    return not is_form and not is_list


def by_name(responses: dict[str, Response]) -> object:
    """An upstream that answers each request with the answer that it names."""

    def response(received: Received) -> Response:
        name = received.header("x-client-request-id")
        # Without a name it is the proxy that asks, for the length of an input.
        return Response(status=404) if name is None else responses[name]

    return response


def named_by(recording: Recording) -> list[Found]:
    """What a recorded request names, which its sender must have."""
    target, _, query = recording.path.removeprefix("/v1").encode().partition(b"?")
    operation = find_operation(recording.method, target, query)
    found: list[Found] = []
    parent: str | None = None
    if not operation.of_models:
        for kind, name in zip(operation.uses, operation.path_ids(target), strict=False):
            found.append(Found(kind, name, parent))
            parent = name
    if Body.JSON in operation.bodies and recording.status == HTTPStatus.OK:
        with suppress(ProxyError):
            references = references_of(operation, parse_document(recording.request_body))
            found += [Found(each.kind, str(each.value)) for each in references]
    return found


async def ask(
    http: httpx2.AsyncClient, holder: Holder, recording: Recording, name: str
) -> httpx2.Response:
    return await http.request(
        recording.method,
        recording.path,
        content=recording.request_body,
        headers={
            **holder.headers,
            "content-type": "application/json",
            "x-client-request-id": name,
        },
    )


async def charged_total(pool: Pool, response: httpx2.Response) -> int | None:
    """What the ledger says of a request: the total that was reported, None when there is none."""
    return await pool.fetchval(
        "SELECT total FROM ledger"
        " WHERE request_id = $1 AND state = 'settled' AND NOT estimated AND amount = -total",
        response.headers["x-tokenbalance-request-id"],
    )


def reported_total(recording: Recording) -> int | None:
    usage = recording.usage or {}
    total = usage.get("total_tokens")
    return total if isinstance(total, int) else None


def expected_body(recording: Recording) -> bytes:
    """The body as it was recorded, without the fine-tunes of those who recorded a list."""
    if recording.path != "/v1/models":
        return recording.response_body
    return visible_models(recording.response_body)


async def test_every_recording_arrives_byte_for_byte_and_is_charged_as_recorded(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, RICH)
    upstream.always(by_name({r.id: replay(r) for r in served()}))  # pyright: ignore[reportArgumentType] - a response is a script too
    turns = asyncio.Semaphore(AT_ONCE)
    seen: Counter[str] = Counter()

    async def check(recording: Recording) -> None:
        await Owners(pool).record(holder.caller, named_by(recording))
        async with turns:
            response = await ask(http, holder, recording, recording.id)
        if "x-tokenbalance-hold" not in response.headers and response.status_code == 400:
            error = response.json()["error"]
            if recording.status == 400:
                assert error == orjson.loads(recording.response_body)["error"]
                return
            assert error["code"] == "unsupported_parameter", (recording.id, error)
            assert error["param"].startswith(REFUSED_PARAMS)
            seen["refused"] += 1
            return
        if recording.status in {401, 403}:
            assert response.json()["error"]["code"] == "upstream_auth"
            return
        if recording.status == 404 and b'"model_not_found"' in recording.response_body:
            assert response.json()["error"]["code"] == "model_not_found"
            return
        assert response.status_code == recording.status, (recording.id, response.text)
        assert response.content == expected_body(recording), recording.id
        if recording.method == "GET":
            # What it reports was charged when it was made.
            assert "x-tokenbalance-charge" not in response.headers
        elif recording.status == 200 and (total := reported_total(recording)) is not None:
            assert await charged_total(pool, response) == total, recording.id
            seen["charged"] += 1
        seen["identical"] += 1

    naming = [recording for recording in served() if named_by(recording)]
    await asyncio.gather(*(check(each) for each in served() if each not in naming))
    for recording in naming:
        # One after the other, since some delete what others name.
        await check(recording)
    assert seen["identical"] >= how_many(24, 1200)
    assert seen["charged"] >= how_many(21, 1100)
    assert seen["refused"] < 40
    assert await pool.fetchval("SELECT held FROM accounts") == 0


async def test_a_stream_is_the_same_wherever_it_is_split(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, RICH)
    streams = sorted(
        (r for r in served() if r.streamed and reported_total(r) and r.path.startswith("/v1/chat")),
        key=lambda recording: len(recording.response_body),
    )[:2]
    assert streams
    responses = {
        f"{recording.id}@{position}": (recording, replay(recording, [position]))
        for recording in streams
        for position in range(1, len(recording.response_body))
    }
    upstream.always(by_name({name: response for name, (_, response) in responses.items()}))  # pyright: ignore[reportArgumentType] - a response is a script too
    turns = asyncio.Semaphore(AT_ONCE)

    async def check(name: str, recording: Recording) -> None:
        async with turns:
            response = await ask(http, holder, recording, name)
        assert response.content == recording.response_body, name
        assert await charged_total(pool, response) == reported_total(recording), name

    await asyncio.gather(*(check(name, recording) for name, (recording, _) in responses.items()))


async def test_usage_that_a_recorded_client_had_asked_for_is_hidden_from_one_that_had_not(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, RICH)
    asked = [
        recording
        for recording in served()
        if recording.streamed
        and recording.usage
        and b'"include_usage":true' in recording.request_body.replace(b" ", b"")
        and b'"choices":[],' in recording.response_body
    ]
    assert asked
    for recording in asked:
        upstream.script(replay(recording))
        document = orjson.loads(recording.request_body)
        del document["stream_options"]
        response = await http.post(recording.path, json=document, headers=holder.headers)
        assert await charged_total(pool, response) == reported_total(recording)
        assert response.content == without_usage(recording.response_body), recording.id


def without_usage(stream: bytes) -> bytes:
    """A recorded stream as a client sees it that did not ask for usage; read event by event."""
    kept: list[bytes] = []
    for event in stream.split(b"\n\n"):
        data = event.removeprefix(b"data: ")
        document: dict[str, Any] = orjson.loads(data) if data.startswith(b"{") else {}
        if document.get("choices") == [] and document.get("usage"):
            continue
        kept.append(event.replace(b',"usage":null', b""))
    return b"\n\n".join(kept)
