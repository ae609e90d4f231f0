"""Pages of other origins, as browsers ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.books import Holder, create_holder
from tests.support.chat import CHAT
from tests.support.product import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

APP = "https://app.example"
ALLOWED = "authorization, content-type, x-stainless-retry-count, openai-organization"
PREFLIGHT = {
    "origin": APP,
    "access-control-request-method": "POST",
    "access-control-request-headers": f"{ALLOWED}, x-portkey-config",
}


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


@pytest.fixture
async def open_to_app(dsn: str, upstream: ScriptedUpstream) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a product that pages of one origin may call."""
    async with (
        serving(dsn, upstream.base_url, cors_origins=f"{APP}, http://localhost:3000") as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        yield http


def told(response: httpx2.Response) -> dict[str, str]:
    """What a browser learns of an answer, without the prefix."""
    prefix = "access-control-"
    return {
        name.removeprefix(prefix): value
        for name, value in response.headers.items()
        if name.startswith(prefix)
    }


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/openai/models", "/v1/nothing"])
async def test_a_preflight_is_answered_without_a_key(
    open_to_app: httpx2.AsyncClient, upstream: ScriptedUpstream, path: str
) -> None:
    response = await open_to_app.options(path, headers=PREFLIGHT)
    assert (response.status_code, response.content) == (204, b"")
    assert "content-length" not in response.headers
    assert response.headers["vary"] == "origin"
    learnt = told(response)
    assert learnt["allow-origin"] == APP
    assert "POST" in learnt["allow-methods"]
    assert int(learnt["max-age"]) > 0
    # What steers a gateway behind us is dropped all the same; the browser may know it.
    assert learnt["allow-headers"] == ALLOWED
    assert "allow-credentials" not in learnt
    assert upstream.requests == []


async def test_answers_errors_and_streams_can_be_read_by_the_page(
    open_to_app: httpx2.AsyncClient, holder: Holder
) -> None:
    headers = {**holder.headers, "origin": APP}
    post = open_to_app.post
    for response, status in [
        (await post("/v1/chat/completions", json=CHAT, headers=headers), 200),
        (await post("/v1/chat/completions", json={**CHAT, "stream": True}, headers=headers), 200),
        (await post("/v1/chat/completions", json={}, headers=headers), 400),
        (await post("/v1/chat/completions", json=CHAT, headers={"origin": APP}), 401),
        (await post("/v1/nothing", headers=headers), 404),
    ]:
        assert response.status_code == status
        assert told(response) == {"allow-origin": APP, "expose-headers": "*"}
        assert response.headers["vary"] == "origin"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://app.example", "null", f"{APP}:1"]
)
async def test_pages_of_another_origin_are_told_nothing(
    open_to_app: httpx2.AsyncClient, holder: Holder, origin: str
) -> None:
    refused = await open_to_app.options("/v1/models", headers={**PREFLIGHT, "origin": origin})
    assert refused.status_code == 204
    # Who is not a browser need not care.
    response = await open_to_app.get("/v1/models", headers={**holder.headers, "origin": origin})
    assert response.status_code == 200
    for each in (refused, response):
        assert told(each) == {}
        assert each.headers["vary"] == "origin"


async def test_every_origin_may_be_let_in(
    dsn: str, upstream: ScriptedUpstream, holder: Holder
) -> None:
    async with (
        serving(dsn, upstream.base_url, cors_origins="*") as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        preflight = await http.options("/v1/models", headers=PREFLIGHT)
        response = await http.get("/v1/models", headers={**holder.headers, "origin": APP})
    assert preflight.status_code == 204
    assert told(preflight)["allow-origin"] == "*"
    assert told(response) == {"allow-origin": "*", "expose-headers": "*"}
    assert "vary" not in response.headers


async def test_without_the_setting_a_preflight_allows_nothing_and_names_it(
    http: httpx2.AsyncClient, holder: Holder
) -> None:
    refused = await http.options("/v1/chat/completions", headers=PREFLIGHT)
    assert (refused.status_code, refused.content) == (204, b"")
    assert "TOKENBALANCE_CORS_ORIGINS" in refused.headers["x-tokenbalance-cors"]
    response = await http.get("/v1/models", headers={**holder.headers, "origin": APP})
    assert told(response) == told(refused) == {}
    assert "vary" not in response.headers


async def test_what_only_looks_like_a_preflight_needs_a_key(
    open_to_app: httpx2.AsyncClient,
) -> None:
    for headers in ({"origin": APP}, {"access-control-request-method": "POST"}):
        assert (await open_to_app.options("/v1/models", headers=headers)).status_code == 401
    post = await open_to_app.post("/v1/chat/completions", json=CHAT, headers=PREFLIGHT)
    assert post.status_code == 401
