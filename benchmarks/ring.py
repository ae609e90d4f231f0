"""Two replicas with two workers each on one Postgres, and an upstream that uses what it is allowed.

    clients -> replicas -> ScriptedUpstream
                  `-----> Postgres

Everything that was started is ended when the ring is left, whatever happens.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import aiohttp
import orjson

from benchmarks.database import Database
from benchmarks.replicas import Replica, kill_all, start_all
from tests.support.upstream import Part, Response, ScriptedUpstream, event_stream
from tokenbalance.database.connections import open_pool
from tokenbalance.database.migrate import migrate_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

    from tests.support.upstream import Received
    from tokenbalance.database.connections import Pool

PROMPT_TOKENS: Final = 9
OUTPUT_TOKENS: Final = 30
"""The output of every response, unless a limit stops it earlier."""
PIECES: Final = 5
PIECE_S: Final = 0.1
_CLIENT_S: Final = 120
_NOTHING: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Ring:
    """Where it takes place."""

    replicas: list[Replica]
    upstream: ScriptedUpstream
    pool: Pool
    dsn: str
    session: aiohttp.ClientSession


def respond(request: Received) -> Response:
    """Respond with as much output as is allowed, in a document or a stream."""
    document = cast("dict[str, int]", request.json())
    limit = document.get("max_completion_tokens") or document.get("max_tokens") or OUTPUT_TOKENS
    output = min(OUTPUT_TOKENS, limit)
    usage = {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": output,
        "total_tokens": PROMPT_TOKENS + output,
    }
    if not document.get("stream"):
        return Response(body=orjson.dumps({"id": "a", "choices": [], "usage": usage}))
    piece = {"id": "a", "choices": [{"index": 0, "delta": {"content": "word "}}]}
    parts: list[Part] = []
    for _ in range(PIECES):
        parts += [b"data: " + orjson.dumps(piece) + b"\n\n", PIECE_S]
    last = b"data: " + orjson.dumps({"id": "a", "choices": [], "usage": usage}) + b"\n\n"
    return event_stream(*parts, last, b"data: [DONE]\n\n")


@asynccontextmanager
async def open_ring(folder: Path, settings: Mapping[str, str] = _NOTHING) -> AsyncGenerator[Ring]:
    """Start everything, with data and logs in this folder; end it all on leaving.

    Args:
        folder: where.
        settings: variables of the product, besides the addresses.

    """
    async with AsyncExitStack() as stack:
        database = Database(folder / "postgres")
        stack.push_async_callback(database.stop)
        await database.start()
        await migrate_in_thread(database.dsn)
        upstream = await stack.enter_async_context(ScriptedUpstream())
        upstream.always(respond)
        all_settings = {
            "DATABASE_URL": database.dsn,
            "OPENAI_BASE_URL": upstream.base_url,
            "OPENAI_API_KEY": "sk-upstream",
            **settings,
        }
        replicas = [Replica(folder / name, all_settings) for name in "ab"]
        stack.push_async_callback(kill_all, replicas)
        await start_all(replicas)
        pool = await stack.enter_async_context(open_pool(database.dsn, 3))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=_CLIENT_S),
            )
        )
        yield Ring(replicas, upstream, pool, database.dsn, session)
