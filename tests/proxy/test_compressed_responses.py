"""Responses that the upstream compresses are metered, or cost their hold."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from tests.support.books import account_of, charges_of, create_holder
from tests.support.chat import CHAT
from tests.support.compression import br, zstd
from tests.support.upstream import Response, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

    from tokenbalance.database.connections import Pool


@pytest.mark.parametrize(
    ("coding", "compress"),
    [("gzip", gzip.compress), ("br", br), ("zstd", zstd.compress)],
)
async def test_a_compressed_answer_is_metered_and_readable(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    coding: str,
    compress: Callable[[bytes], bytes],
) -> None:
    holder = await create_holder(pool, 1000)
    document = b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10}}'
    upstream.script(
        Response(
            headers=[("content-type", "application/json"), ("content-encoding", coding)],
            body=compress(document),
        )
    )
    response = await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    assert upstream.requests[0].header("accept-encoding") == "identity"
    assert response.content == document
    assert "content-encoding" not in response.headers
    assert (await account_of(pool, holder)).balance == 990
    (charge,) = await charges_of(pool, holder)
    assert not charge["estimated"]


@pytest.mark.parametrize(
    ("coding", "compress"), [("gzip", gzip.compress), ("br", br), ("zstd", zstd.compress)]
)
async def test_a_compressed_answer_that_ends_too_early_has_broken_off(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    coding: str,
    compress: Callable[[bytes], bytes],
) -> None:
    holder = await create_holder(pool, 1000)
    document = b'{"choices":[{"message":{"content":"one two three"}}],"usage":{}}'
    upstream.script(
        Response(
            headers=[("content-type", "application/json"), ("content-encoding", coding)],
            body=compress(document)[:-8],
        )
    )
    response = await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    assert (response.status_code, response.json()["error"]["code"]) == (424, "upstream_incomplete")
    (charge,) = await charges_of(pool, holder)
    assert charge["estimated"]


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
async def test_a_compression_that_cannot_be_read_costs_the_hold(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, content_type: str, n: int
) -> None:
    holder = await create_holder(pool, 1000)
    upstream.script(
        Response(
            headers=[("content-type", content_type), ("content-encoding", "unheard-of")],
            body=b"\x01\x02\x03",
        )
    )
    body = {**CHAT, "n": n, "stream": True}
    response = await http.post("/v1/chat/completions", json=body, headers=holder.headers)
    assert response.headers["content-encoding"] == "unheard-of"
    assert response.headers["content-type"] == content_type
    (charge,) = await charges_of(pool, holder)
    assert charge["estimated"]
    assert charge["output"] == n * CHAT["max_tokens"]
    assert charge["total"] == charge["held"]
