"""The proxy on any ASGI server: the same pipeline, by the longer way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import httpx2

from tests.support.books import account_of, create_holder, hold_states
from tests.support.chat import CHAT, DONE, STREAM, USAGE, content
from tests.support.product import product_app
from tests.support.upstream import event_stream
from tokenbalance.events.security import NAME as SECURITY

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool


async def test_chats_and_streams_are_charged_alike(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    holder = await create_holder(pool, 1000)
    app = product_app(dsn, upstream.base_url, data_dir=tmp_path)
    async with (
        app.router.lifespan_context(app) as state,
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(_with_state(app, state)), base_url="http://x"
        ) as http,
    ):
        chat = await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
        assert (chat.status_code, "x-tokenbalance-charge" in chat.headers) == (200, True)
        after = (await account_of(pool, holder)).balance
        events = [content("Hi"), content(" there"), DONE]
        upstream.script(event_stream(*events[:2], USAGE, DONE))
        stream = await http.post("/v1/chat/completions", json=STREAM, headers=holder.headers)
        assert stream.content == b"".join(events)
        assert (await account_of(pool, holder)).balance == after - 12
        assert set(await hold_states(pool, holder)) == {"settled"}


async def test_the_security_log_has_the_address_of_a_client(
    pool: Pool, dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    del pool
    caplog.set_level("INFO", SECURITY)
    app = product_app(dsn, None, data_dir=tmp_path)
    async with (
        app.router.lifespan_context(app) as state,
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(_with_state(app, state), client=("10.0.0.7", 1)),
            base_url="http://x",
        ) as http,
    ):
        refused = await http.get("/v1/models", headers={"authorization": "Bearer tb-unknown"})
    assert refused.status_code == 401
    assert [vars(record)["address"] for record in caplog.records if record.name == SECURITY] == [
        "10.0.0.7"
    ]


def _with_state(app: Any, state: Any) -> Any:
    """What a server does: the lifespan's state is in the scope of each request."""

    async def respond(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": dict(state or {})}, receive, send)

    return cast("Any", respond)
