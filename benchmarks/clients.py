"""The clients: rich and poor accounts, requests of every kind, and what each client received.

The requests and their times follow from the seed alone. A client never retries, so that one
request is at most one response, one hold and one charge.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import aiohttp

from benchmarks.upstream import Kind, model_of
from tests.support.books import create_holder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.replicas import Replica
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool

PATIENCE_S: Final = 45.0
"""How long a client waits for its whole response."""
PROMPT: Final = "Say a word, and then say it again."
"""Has `PROMPT_TOKENS` of the upstream."""
RICH: Final = 10_000_000
POOR: Final = 400
TOP_UP: Final = 300
_SHARES: Final = {
    Kind.JSON: 34,
    Kind.THOUGHT: 6,
    Kind.STREAM: 26,
    Kind.SLOW: 12,
    Kind.BARE: 6,
    Kind.BROKEN: 3,
    Kind.REFUSED: 3,
    Kind.LIMITED: 3,
    Kind.FAILED: 3,
    Kind.LATE: 4,
}
_HANGS_UP: Final = 0.12


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """One request, before it is sent."""

    number: int
    kind: Kind
    account: int
    replica: int
    max_tokens: int | None
    asks_for_usage: bool
    hangs_up_after_s: float | None

    @property
    def document(self) -> dict[str, object]:
        """The body."""
        document: dict[str, object] = {
            "model": model_of(self.kind, self.number),
            "messages": [{"role": "user", "content": PROMPT}],
        }
        if self.max_tokens is not None:
            document["max_tokens"] = self.max_tokens
        if self.kind.streams:
            document["stream"] = True
            if self.asks_for_usage:
                document["stream_options"] = {"include_usage": True}
        return document


@dataclass(slots=True)
class Received:
    """What a client received."""

    request: ClientRequest
    began: float
    ended: float = 0.0
    status: int | None = None
    """None if no response began."""
    code: str = ""
    """The error's code, if the response is one or the stream ended in one."""
    request_id: str = ""
    complete: bool = False
    """The response arrived to its end."""
    hung_up: bool = False


@dataclass(slots=True)
class Clients:
    """Clients of several replicas."""

    replicas: Sequence[Replica]
    holders: list[Holder]
    """The rich first, then the poor, then others; a holder may get another key under way."""
    rich: int
    seed: int
    poor: Sequence[Holder] = ()
    received: list[Received] = field(default_factory=list)
    """In the order of sending."""
    _asked: int = 0
    _in_flight: set[asyncio.Task[None]] = field(default_factory=set)

    async def load(self, per_s: float, lasting_s: float) -> None:
        """Send requests at this rate for this long; those in flight go on afterwards."""
        chance = random.Random(f"{self.seed} {self._asked}")
        clock = asyncio.get_running_loop().time
        end = clock() + lasting_s
        next_at = clock()
        connector = aiohttp.TCPConnector(limit=0)
        session = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=PATIENCE_S)
        )
        try:
            while next_at < end:
                await asyncio.sleep(max(next_at - clock(), 0))
                self._begin(session, self._draw(chance))
                next_at += chance.expovariate(per_s)
        finally:
            # Requests in flight are read to their end whatever happens.
            _ = await asyncio.shield(asyncio.ensure_future(self._finish(session)))

    async def _finish(self, session: aiohttp.ClientSession) -> None:
        if self._in_flight:
            _ = await asyncio.wait(self._in_flight, timeout=PATIENCE_S + 5)
        await session.close()

    def _draw(self, chance: random.Random) -> ClientRequest:
        self._asked += 1
        kind = chance.choices(list(_SHARES), list(_SHARES.values()))[0]
        return ClientRequest(
            number=self._asked,
            kind=kind,
            account=chance.randrange(len(self.holders)),
            replica=chance.randrange(len(self.replicas)),
            max_tokens=chance.choice([None, 20, 40, 40]),
            asks_for_usage=chance.random() < 0.5,  # noqa: PLR2004 - every other one
            hangs_up_after_s=chance.uniform(0, 2) if chance.random() < _HANGS_UP else None,
        )

    def _begin(self, session: aiohttp.ClientSession, request: ClientRequest) -> None:
        received = Received(request, asyncio.get_running_loop().time())
        self.received.append(received)
        task = asyncio.create_task(self._perform(session, received))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    async def _perform(self, session: aiohttp.ClientSession, received: Received) -> None:
        request = received.request
        limit_s = PATIENCE_S if request.hangs_up_after_s is None else request.hangs_up_after_s
        try:
            async with asyncio.timeout(limit_s):
                await self._send(session, received, self.holders[request.account])
        except TimeoutError:
            received.hung_up = request.hangs_up_after_s is not None
        except (aiohttp.ClientError, OSError):
            pass
        finally:
            received.ended = asyncio.get_running_loop().time()

    async def try_key(self, holder: Holder, replica: int) -> Received:
        """Send a request that is expected to be refused, with a key of the caller's own."""
        self._asked += 1
        request = ClientRequest(
            self._asked, Kind.JSON, 0, replica, 20, asks_for_usage=False, hangs_up_after_s=None
        )
        received = Received(request, asyncio.get_running_loop().time())
        self.received.append(received)
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session:
                await self._send(session, received, holder)
        except (aiohttp.ClientError, OSError):
            pass
        finally:
            received.ended = asyncio.get_running_loop().time()
        return received

    async def _send(
        self, session: aiohttp.ClientSession, received: Received, holder: Holder
    ) -> None:
        async with session.post(
            f"{self.replicas[received.request.replica].url}/v1/chat/completions",
            json=received.request.document,
            headers=holder.headers,
        ) as response:
            received.status = response.status
            received.request_id = response.headers.get("x-tokenbalance-request-id", "")
            if response.content_type == "text/event-stream":
                await _read_events(response, received)
            else:
                document = await response.json()
                received.code = _code_of(document)
                received.complete = True


async def _read_events(response: aiohttp.ClientResponse, received: Received) -> None:
    async for line in response.content:
        if line.startswith(b"data: [DONE]"):
            received.complete = True
        elif line.startswith(b'data: {"error"'):
            received.code = "broken off"


def _code_of(document: dict[str, dict[str, str | None]]) -> str:
    error = document.get("error")
    return "" if error is None else (error["code"] or "of the upstream")


async def create_clients(
    pool: Pool, replicas: Sequence[Replica], seed: int, *, rich: int = 14, poor: int = 6
) -> Clients:
    """Create the accounts."""
    the_rich = [await create_holder(pool, RICH) for _ in range(rich)]
    the_poor = [await create_holder(pool, POOR) for _ in range(poor)]
    return Clients(replicas, [*the_rich, *the_poor], rich, seed, the_poor)
