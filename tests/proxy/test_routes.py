"""What OpenAI has and what is open of it: by path, method, and the one query that counts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.books import Holder, create_holder, hold_states
from tests.support.stored_objects import record
from tests.support.upstream import Response, json_response
from tokenbalance.errors import InvalidValue
from tokenbalance.model.objects import Found
from tokenbalance.openai import OPERATIONS, find_operation, meant_path

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2
    from openai import AsyncOpenAI

    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Json

RESPONSE = {"model": "gpt-4o-mini", "input": "Hi", "max_output_tokens": 100}


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 100_000)


# --- what is closed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "says"),
    [
        ("GET", "/v1/batches", "jobs are not open here yet. The page /docs lists what is open."),
        ("GET", "/api/openai/batches/", "jobs are not open here yet."),
        ("POST", "/v1/threads/thread_1/runs", "OpenAI has shut it down."),
        ("GET", "/v1/realtime", "it is a WebSocket, which is not served here yet."),
        ("GET", "/v1/responses", "Open here: POST /v1/responses, "),
        ("DELETE", "/v1/models/gpt-4o", "it acts for all users of the shared key. Open here: "),
        ("POST", "/v1/organization/projects/proj_1/archive", "it administers the operator's"),
    ],
)
async def test_a_closed_operation_says_why_and_what_is_open_beside_it(
    http: httpx2.AsyncClient,
    holder: Holder,
    upstream: ScriptedUpstream,
    method: str,
    path: str,
    says: str,
) -> None:
    response = await http.request(method, path, headers=holder.headers)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (403, "endpoint_not_allowed")
    assert says in error["message"]
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("method", "path", "says"),
    [
        ("PUT", "/v1/models", "this path only accepts GET"),
        ("PATCH", "/v1/chat/completions", "this path only accepts GET and POST"),
        ("POST", "/v1/responses/resp_1/nothing", "not an endpoint"),
        ("GET", "/v1/files/..%2Fmodels", "not an endpoint"),
        ("GET", "/v1/files/.hidden", "not an endpoint"),
    ],
)
async def test_what_openai_does_not_have_either_is_unknown(
    http: httpx2.AsyncClient, holder: Holder, method: str, path: str, says: str
) -> None:
    request = http.build_request(method, "http://x/", headers=holder.headers)
    request.url = http.base_url.copy_with(raw_path=path.encode())
    response = await http.send(request)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (404, "unknown_url")
    assert says in error["message"]


# --- base URLs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "meant"),
    [
        ("POST", "/chat/completions", "/v1/chat/completions"),
        ("POST", "/responses", "/v1/responses"),
        ("GET", "/models", "/v1/models"),
        ("GET", "/models/gpt-4o", "/v1/models/gpt-4o"),
        ("POST", "/openai/v1/embeddings", "/v1/embeddings"),
        ("POST", "/v1/v1/chat/completions", "/v1/chat/completions"),
        ("POST", "/v1/openai/v1/chat/completions", "/v1/chat/completions"),
        ("POST", "/api/openai/v1/chat/completions", "/v1/chat/completions"),
        ("POST", "/v1//chat/completions", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions/", "/v1/chat/completions"),
        ("GET", "/files/file-1/content", "/v1/files/file-1/content"),
    ],
)
async def test_a_base_url_that_is_nearly_right_gets_the_right_one_suggested(
    http: httpx2.AsyncClient, holder: Holder, method: str, path: str, meant: str
) -> None:
    response = await http.request(method, path, headers=holder.headers)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (404, "unknown_url")
    assert f"Did you mean {meant}?" in error["message"]


@pytest.mark.parametrize("path", [b"/", b"/v1", b"/nothing", b"/api/keys", b"/v1/../models", b""])
def test_nothing_is_suggested_for_an_unknown_path(path: bytes) -> None:
    assert meant_path(path) is None


# --- twins --------------------------------------------------------------------------------------


async def test_the_beta_twin_is_metered_as_its_sibling_and_booked_under_its_own_name(
    pool: Pool, http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    response = await http.post("/v1/responses?beta=true", json=RESPONSE, headers=holder.headers)
    assert response.status_code == 200
    assert int(response.headers["x-tokenbalance-charge"]) > 0
    assert upstream.requests[0].target == b"/v1/responses?beta=true"
    assert (
        await pool.fetchval("SELECT endpoint FROM ledger WHERE state = 'settled'")
        == "/responses?beta=true"
    )


@pytest.mark.parametrize(
    "query",
    [
        "beta=false",
        "beta",
        "beta=",
        "beta=1",
        "beta=True",
        "Beta=true",
        "%62eta=true",
        "%2562eta=true",
        "beta%3Dtrue",
        "beta=%74rue",
        "beta=true&beta=true",
        "beta=true&beta=false",
        "beta=false&beta=true",
        "beta=true&BETA=false",
        "a=1;beta=true",
        "beta=true;a=1",
        "a=%26beta=true",
        "?beta=true",
        "beta[]=true",
        "+beta=true",
        "beta=true%00",
        "beta%20=true",
    ],
)
async def test_a_beta_that_may_be_read_in_two_ways_is_refused(
    pool: Pool, http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream, query: str
) -> None:
    request = http.build_request(
        "POST", "http://x/", json=RESPONSE, headers={**holder.headers, "host": "localhost"}
    )
    request.url = http.base_url.copy_with(raw_path=f"/v1/responses?{query}".encode())
    response = await http.send(request)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_value", "beta")
    assert upstream.requests == []
    assert await hold_states(pool, holder) == []


@pytest.mark.parametrize("query", [b"api-version=beta", b"alphabeta=true", b"x=beta", b"a=1&b=%26"])
def test_another_query_makes_no_twin(query: bytes) -> None:
    assert find_operation("POST", b"/responses", query).path == "/responses"
    assert find_operation("POST", b"/responses", query + b"&beta=true").path.endswith("?beta=true")


def test_beta_means_nothing_where_there_is_no_twin() -> None:
    for query in (b"beta=true", b"Beta=1"):
        assert find_operation("POST", b"/chat/completions", query).path == "/chat/completions"
    with pytest.raises(InvalidValue):
        find_operation("POST", b"/responses/input_tokens", b"BETA=true")


async def test_the_quote_knows_the_twin_too(http: httpx2.AsyncClient, holder: Holder) -> None:
    body = {"path": "/v1/responses?beta=true", "body": RESPONSE}
    response = await http.post("/api/quote", json=body, headers=holder.headers)
    assert response.json()["endpoint"] == "/responses?beta=true"


# --- models -------------------------------------------------------------------------------------

OURS: Json = {"id": "gpt-4o-mini", "object": "model", "created": 1, "owned_by": "system"}
THEIRS: Json = {"id": "ft:gpt-4o-mini:acme::abc", "object": "model", "owned_by": "org-secret"}


async def test_other_peoples_fine_tunes_are_not_listed(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    escaped = json.dumps({"id": "FT:x"}).replace("FT", "\\u0046\\u0054")
    rows: list[Json] = [THEIRS, OURS]
    upstream.script(
        json_response({"object": "list", "data": rows, "models": [{"name": "ft:a"}, {"name": "b"}]})
    )
    upstream.script(Response(body=f'{{"data": [{escaped}, 1]}}'.encode()))
    response = await http.get("/v1/models", headers=holder.headers)
    assert response.json() == {"object": "list", "data": [OURS], "models": [{"name": "b"}]}
    assert response.headers["content-length"] == str(len(response.content))
    assert (await http.get("/v1/models", headers=holder.headers)).json() == {"data": [1]}


@pytest.mark.parametrize(
    "body",
    [
        b'{ "object":"list",\n "data": [ {"id":"gpt-4o"} , {"id": "microsoft/phi"}] }\n',
        b'{ "data": [{"id": "\\u0061"}], "note": "ft:" }',
        b"[1]",
        b"not JSON, ft: or not",
        b"",
    ],
)
async def test_a_list_of_which_nothing_is_cut_stays_as_it_came(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream, body: bytes
) -> None:
    upstream.script(Response(body=body))
    response = await http.get("/v1/models", headers=holder.headers)
    assert (response.status_code, response.content) == (200, body)


@pytest.mark.parametrize(
    "response", [Response(body=b'{"data":', cut_after=5), Response(body=bytes(9 << 20))]
)
async def test_a_list_that_cannot_be_read_whole_is_not_passed_on(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream, response: Response
) -> None:
    upstream.script(response)
    got = await http.get("/v1/models", headers=holder.headers)
    assert (got.status_code, got.json()["error"]["code"]) == (502, "upstream_unavailable")


async def test_a_list_in_an_unknown_coding_is_not_passed_on(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    upstream.script(Response(headers=[("content-encoding", "compress")], body=b"\x1f\x9d"))
    assert (await http.get("/v1/models", headers=holder.headers)).status_code == 502


@pytest.mark.parametrize("name", ["ft:gpt-4o-mini:acme::abc", "FT:x"])
async def test_a_fine_tune_does_not_exist_for_those_who_do_not_have_it(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream, pool: Pool, name: str
) -> None:
    await record(pool, await create_holder(pool), Found("model", "ft:gpt-4o-mini:acme::abc"))
    request = http.build_request("GET", "http://x/", headers=holder.headers)
    request.url = http.base_url.copy_with(raw_path=f"/v1/models/{name}".encode())
    response = await http.send(request)
    assert response.status_code == 404
    assert response.json()["error"] == {
        "message": f"The model '{name}' does not exist",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    assert upstream.requests == []


async def test_a_fine_tune_is_shown_to_its_owner(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream, pool: Pool
) -> None:
    name = "ft:gpt-4o-mini:acme::abc"
    await record(pool, holder, Found("model", name))
    upstream.script(json_response(THEIRS))
    response = await http.get(f"/v1/models/{name}", headers=holder.headers)
    assert (response.status_code, response.json()) == (200, THEIRS)
    assert len(upstream.requests) == 1


async def test_the_sdk_lists_models(
    sdk: Callable[[Holder], AsyncOpenAI], holder: Holder, upstream: ScriptedUpstream
) -> None:
    upstream.script(json_response({"object": "list", "data": [THEIRS, OURS]}))
    assert [model.id async for model in sdk(holder).models.list()] == ["gpt-4o-mini"]


def test_every_row_of_models_is_one_that_is_cut() -> None:
    assert {one.path for one in OPERATIONS if one.of_models} == {"/models", "/models/{model}"}
