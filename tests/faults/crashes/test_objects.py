"""kill -9 between the upstream's response and its row: no id is seen that has no owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx2
import orjson
import pytest

from tests.support.crashing import KILLED, Point
from tests.support.upstream import event_stream, json_response

if TYPE_CHECKING:
    from tests.support.crashing import Server
    from tests.support.installation import Installation
    from tests.support.upstream import Received, Response
    from tokenbalance.model import Document, Json

USAGE: Final[Json] = {"input_tokens": 8, "output_tokens": 4, "total_tokens": 12}
QUESTION: Final[Document] = {"model": "gpt-5.4-mini", "input": "Hi", "max_output_tokens": 16}
MADE: Final[dict[str, tuple[str, Document, str]]] = {
    "conversation": ("/conversations", {}, "conv_1"),
    "response": ("/responses", QUESTION, "resp_1"),
    "stream": ("/responses", {**QUESTION, "stream": True}, "resp_1"),
}


def responded(request: Received) -> Response:
    """Make a thing of the kind that is asked for; there is only one of each."""
    if request.target.endswith(b"/conversations"):
        return json_response({"id": "conv_1", "object": "conversation", "created_at": 1})
    document = orjson.loads(request.body)
    whole: Json = {"id": "resp_1", "object": "response", "status": "completed", "usage": USAGE}
    if not document.get("stream"):
        return json_response(whole)
    begun: Json = {"id": "resp_1", "object": "response", "status": "in_progress"}
    events: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.completed", "response": whole},
    ]
    return event_stream(*(b"data: " + orjson.dumps(event) + b"\n\n" for event in events))


async def ask(installation: Installation, server: Server, made: str) -> bytes:
    """What arrives of the response."""
    path, document, _ = MADE[made]
    received = b""
    try:
        async with installation.client.stream(
            "POST",
            f"{await server.ready()}/v1{path}",
            json=document,
            headers=installation.holder.headers,
        ) as response:
            async for chunk in response.aiter_raw():
                received += chunk
    except (httpx2.NetworkError, httpx2.RemoteProtocolError):
        pass
    return received


async def owners(installation: Installation) -> dict[str, int]:
    rows = await installation.pool.fetch("SELECT object_id, account_id FROM objects")
    return {row["object_id"]: row["account_id"] for row in rows}


# What is charged is written with its charge, and noted before only if that fails.
@pytest.mark.parametrize(
    ("point", "made"),
    [(Point.NOTING, "conversation"), (Point.NOTED, "conversation")]
    + [(Point.OWNED, made) for made in MADE],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
async def test_an_object_has_its_owner_before_its_id_is_seen(
    installation: Installation, made: str, point: Point
) -> None:
    installation.upstream.always(responded)
    server = await installation.serve(point)
    name = MADE[made][2]
    assert name.encode() not in await ask(installation, server, made)
    assert await server.ended() == KILLED
    await installation.restart()
    mine = {name: installation.holder.account_id}
    assert await owners(installation) == ({} if point is Point.NOTING else mine)


async def test_a_process_that_ends_as_it_should_leaves_no_journal(
    installation: Installation,
) -> None:
    installation.upstream.always(responded)
    server = await installation.serve()
    assert b"conv_1" in await ask(installation, server, "conversation")
    assert await server.stop() == 0
    assert installation.journals() == []
    assert await owners(installation) == {"conv_1": installation.holder.account_id}
