"""An installation whose servers are killed, and how its requests end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx2
import orjson
import pytest

from tests.support.books import account_of, entries_of
from tests.support.chat import CHAT, DONE, STREAM, chunk, content
from tests.support.crashing import Point, Server, Servers, settings_of
from tests.support.request_rows import REQUESTS
from tests.support.upstream import Gate, Received, Response
from tokenbalance.books.ledger.audit import audit
from tokenbalance.openai import find_operation
from tokenbalance.openai.estimate import bound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.support.books import Holder
    from tests.support.upstream import Part, ScriptedUpstream
    from tokenbalance.database.connections import Pool


GRANTED = 1_000_000


LIMIT_S = 15.0


POLL_S = 0.01


ENDPOINT = find_operation("POST", b"/chat/completions")


KNOWN = bound(ENDPOINT, CHAT).input_tokens
"""What is known of a request that was just sent: the bound of its input."""


End: TypeAlias = tuple[str, int | None, bool | None]
"""Of a hold: its state, the tokens charged, whether they are estimated."""


EXACT: End = ("settled", 12, False)


ESTIMATED: End = ("expired", KNOWN, True)


VOIDED: End = ("voided", None, None)


NEVER_PLACED: None = None
"""What no hold was placed for is no request: it has no row."""


ENDS: dict[Point, End | None] = {
    Point.BEGUN: NEVER_PLACED,
    Point.PLACED: VOIDED,
    Point.DISPATCHING: VOIDED,
    Point.DISPATCHED: ESTIMATED,
    Point.HEAD_CAME: ESTIMATED,
    Point.USAGE_SEEN: ESTIMATED,
    Point.USED: EXACT,
    Point.SETTLED: EXACT,
    Point.CLEARING: EXACT,
    Point.CLEARED: EXACT,
}


BOTH_KINDS = pytest.mark.parametrize(
    "document", [pytest.param(CHAT, id="json"), pytest.param(STREAM, id="stream")]
)


def usage_of(total: int) -> dict[str, Any]:
    return {"prompt_tokens": 9, "completion_tokens": total - 9, "total_tokens": total}


def parts(request: Received, text: str = "One two", total: int = 12) -> list[bytes]:
    """What the upstream answers, in pieces: the text, its usage, the end."""
    if request.json().get("stream"):
        return [content(text), chunk(choices=[], usage=usage_of(total)), DONE]
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    document = orjson.dumps({"choices": [choice], "usage": usage_of(total)})
    before, name, usage = document.partition(b'"usage"')
    return [before, name + usage[:-1], usage[-1:]]


def responded(request: Received, body: list[Part], head_gate: Gate | None = None) -> Response:
    streamed = request.json().get("stream")
    content_type = "text/event-stream" if streamed else "application/json"
    return Response(headers=(("content-type", content_type),), body=body, head_gate=head_gate)


def plainly(request: Received) -> Response:
    return responded(request, [*parts(request)])


def numbered(request: Received) -> Response:
    """An answer that tells which one it is by its text and by its usage."""
    text, total = f"This is number {request.number}.", 100 + request.number
    return responded(request, [*parts(request, text, total)])


@dataclass
class Installation:
    """One set of books, their upstream, and servers that come and go."""

    dsn: str
    pool: Pool
    holder: Holder
    upstream: ScriptedUpstream
    servers: Servers
    client: httpx2.AsyncClient
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    async def start(
        self, point: Point | None = None, hit: int = 1, *, data: str = "data", dsn: str = ""
    ) -> Server:
        """Start a server; it need not live to be ready."""
        settings = settings_of(dsn or self.dsn, self.upstream, self.folder / data)
        return await self.servers.start({**settings, **self.variables}, point, hit)

    async def serve(
        self, point: Point | None = None, hit: int = 1, *, data: str = "data", dsn: str = ""
    ) -> Server:
        """Start a server, and wait until it has taken over what dead ones left in its folder."""
        left = self.journals(data)
        server = await self.start(point, hit, data=data, dsn=dsn)
        await server.ready()
        await until(lambda: not any(path.exists() for path in left))
        return server

    async def restart(self, *, data: str = "data") -> None:
        """Let a server take over what there is, and stop; nothing is left behind."""
        server = await self.serve(data=data)
        assert await server.stop() == 0, self.servers.log()
        assert self.journals(data) == []

    def journals(self, data: str = "data") -> list[Path]:
        """Every file in a journal folder, of dead and living ones."""
        return sorted((self.folder / data).glob("journal/*/*"))

    async def ask(self, server: Server, document: dict[str, Any]) -> str | None:
        """Send a request; gives its answer, None when the server dies before its end."""
        try:
            response = await self.client.post(
                f"{await server.ready()}/v1/chat/completions",
                json=document,
                headers=self.holder.headers,
            )
        except (httpx2.NetworkError, httpx2.RemoteProtocolError):
            return None
        return response.text

    async def ends(self) -> list[End]:
        """How the holds have ended, oldest first."""
        rows = await self.pool.fetch(
            f"SELECT state, total, estimated FROM {REQUESTS} r"  # noqa: S608 - a constant
            " WHERE account_id = $1 ORDER BY created_at, request_id",
            self.holder.account_id,
        )
        return [(row["state"], row["total"], row["estimated"]) for row in rows]

    async def until_none_is_open(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            while any(state == "open" for state, _, _ in await self.ends()):
                await asyncio.sleep(POLL_S)

    async def check(self, ends: Sequence[End | None]) -> None:
        """The holds have ended like this, and everything else follows from it."""
        assert await self.ends() == [end for end in ends if end is not NEVER_PLACED]
        await self.check_sums()

    async def check_sums(self) -> None:
        charged = sum(total or 0 for _, total, _ in await self.ends())
        account = await account_of(self.pool, self.holder)
        assert (account.balance, account.held) == (GRANTED - charged, 0)
        entries = await entries_of(self.pool, self.holder)
        assert sum(amount for _, amount, _ in entries) == account.balance
        assert (await audit(self.pool)).violations == []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(POLL_S)
