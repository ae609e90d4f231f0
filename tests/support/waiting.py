"""Requests of an account that affords one at a time, and what they get."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
from typing_extensions import override

from tests.support.chat import DONE, STREAM, USAGE, content
from tests.support.product import serving
from tests.support.upstream import Gate, ScriptedUpstream, event_stream, json_response

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.books import Holder
    from tests.support.upstream import Response
    from tokenbalance.database.connections import Pool

PATIENCE_S = 20.0
HOLD = 9 + 50
"""Credits that `STREAM` wants."""
AT_ONCE_S = 10.0
"""Well below the 30 s that a request waits."""


@asynccontextmanager
async def client_of(
    dsn: str, upstream: ScriptedUpstream, **settings: Any
) -> AsyncGenerator[Client]:
    """Serve the product; yields its client."""
    async with (
        serving(dsn, upstream.base_url, **settings) as url,
        Client(base_url=url, timeout=60, limits=httpx2.Limits(max_connections=None)) as client,
    ):
        yield client


class Client(httpx2.AsyncClient):
    """Asks one product."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._refused = asyncio.Event()

    async def ask(self, holder: Holder, body: dict[str, Any] = STREAM) -> httpx2.Response:
        return await self.post("/v1/chat/completions", json=body, headers=holder.headers)

    async def until_refused(self) -> None:
        """Wait until one answer was an error."""
        await self._refused.wait()

    @override
    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        response = await super().send(request, **options)
        if response.is_error:
            self._refused.set()
        return response

    def begin(self, holder: Holder, body: dict[str, Any] = STREAM) -> asyncio.Task[httpx2.Response]:
        return asyncio.create_task(self.ask(holder, body))


def gated(upstream: ScriptedUpstream, count: int = 1) -> list[Gate]:
    """Let the next answers wait at a gate each before they report 12 tokens."""
    gates = [Gate() for _ in range(count)]
    upstream.script(*(event_stream(content("x"), gate, USAGE, DONE) for gate in gates))
    return gates


def response_of(total: int) -> Response:
    """An answer that used so many tokens in all."""
    return json_response(
        {"usage": {"prompt_tokens": 9, "completion_tokens": total - 9, "total_tokens": total}}
    )


async def until_waiting(pool: Pool, count: int) -> None:
    """Wait until so many requests stand in line."""
    async with asyncio.timeout(PATIENCE_S):
        while await pool.fetchval("SELECT count(*) FROM waiters") != count:
            await asyncio.sleep(0.005)


def message_of(response: httpx2.Response) -> str:
    """What is said of a balance that does not cover the request."""
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (402, "insufficient_quota")
    assert response.headers["x-should-retry"] == "false"
    assert "retry-after" not in response.headers
    return error["message"]


def message_of_held(response: httpx2.Response) -> str:
    """What is said of a balance that covers it, and is held."""
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (429, "balance_held")
    assert "x-should-retry" not in response.headers
    return error["message"]
