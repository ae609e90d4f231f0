"""The clients: accounts rich and poor, requests of every kind, and what each client was told.

What is asked, by whom and when follows from the seed alone. A client never tries again, so that one
request is one answer, one hold and one charge at most.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import aiohttp
from sqlalchemy.exc import DBAPIError

from benchmarks.upstream import Kind, model_of
from tests.support.books import create_holder
from tokenbalance.books.ledger.credits import Cause, add
from tokenbalance.database.connections import UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.replicas import Replica
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions

PATIENCE_S: Final = 45.0
"""How long a client waits for its whole answer."""
PROMPT: Final = "Say a word, and then say it again."
"""As many tokens as `PROMPT_TOKENS` of the upstream says."""
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
_BUYS_S: Final = 2.0
"""How often somebody poor gets a top-up."""


@dataclass(frozen=True, slots=True)
class Ask:
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
class Told:
    """What a client heard."""

    ask: Ask
    began: float
    ended: float = 0.0
    status: int | None = None
    """None when no answer began."""
    code: str = ""
    """Of the error that the answer is, or in which the stream ended."""
    request_id: str = ""
    complete: bool = False
    """It has the end of its answer."""
    hung_up: bool = False


@dataclass(slots=True)
class Crowd:
    """Clients of several replicas."""

    replicas: Sequence[Replica]
    holders: Sequence[Holder]
    """The rich first, then the poor."""
    rich: int
    seed: int
    told: list[Told] = field(default_factory=list)
    """In the order of sending."""
    _asked: int = 0
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def load(self, per_s: float, lasting_s: float) -> None:
        """Send requests at this rate for this long; those under way go on afterwards."""
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
            # Whatever happens, who is under way is heard to the end.
            _ = await asyncio.shield(asyncio.ensure_future(self._finish(session)))

    async def _finish(self, session: aiohttp.ClientSession) -> None:
        if self._under_way:
            _ = await asyncio.wait(self._under_way, timeout=PATIENCE_S + 5)
        await session.close()

    def _draw(self, chance: random.Random) -> Ask:
        self._asked += 1
        kind = chance.choices(list(_SHARES), list(_SHARES.values()))[0]
        return Ask(
            number=self._asked,
            kind=kind,
            account=chance.randrange(len(self.holders)),
            replica=chance.randrange(len(self.replicas)),
            max_tokens=chance.choice([None, 20, 40, 40]),
            asks_for_usage=chance.random() < 0.5,  # noqa: PLR2004 - every other one
            hangs_up_after_s=chance.uniform(0, 2) if chance.random() < _HANGS_UP else None,
        )

    def _begin(self, session: aiohttp.ClientSession, ask: Ask) -> None:
        told = Told(ask, asyncio.get_running_loop().time())
        self.told.append(told)
        task = asyncio.create_task(self._ask(session, told))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _ask(self, session: aiohttp.ClientSession, told: Told) -> None:
        ask = told.ask
        # A moment later than the patience of the session counts as patience too.
        limit_s = PATIENCE_S if ask.hangs_up_after_s is None else ask.hangs_up_after_s
        try:
            async with asyncio.timeout(limit_s):
                await self._send(session, told)
        except TimeoutError:
            told.hung_up = ask.hangs_up_after_s is not None
        except (aiohttp.ClientError, OSError):
            pass
        finally:
            told.ended = asyncio.get_running_loop().time()

    async def _send(self, session: aiohttp.ClientSession, told: Told) -> None:
        async with session.post(
            f"{self.replicas[told.ask.replica].url}/v1/chat/completions",
            json=told.ask.document,
            headers=self.holders[told.ask.account].headers,
        ) as response:
            told.status = response.status
            told.request_id = response.headers.get("x-tokenbalance-request-id", "")
            if response.content_type == "text/event-stream":
                await _read_events(response, told)
            else:
                document = await response.json()
                told.code = _code_of(document)
                told.complete = True


async def _read_events(response: aiohttp.ClientResponse, told: Told) -> None:
    async for line in response.content:
        if line.startswith(b"data: [DONE]"):
            told.complete = True
        elif line.startswith(b'data: {"error"'):
            told.code = "broken off"


def _code_of(document: dict[str, dict[str, str | None]]) -> str:
    error = document.get("error")
    return "" if error is None else (error["code"] or "of the upstream")


async def gather_crowd(
    pool: Pool, replicas: Sequence[Replica], seed: int, *, rich: int = 14, poor: int = 6
) -> Crowd:
    """Make the accounts."""
    holders = [await create_holder(pool, RICH) for _ in range(rich)]
    holders += [await create_holder(pool, POOR) for _ in range(poor)]
    return Crowd(replicas, holders, rich, seed)


async def top_up(crowd: Crowd, sessions: Sessions) -> None:
    """Top up somebody poor now and then, for as long as it is let."""
    chance = random.Random(f"{crowd.seed} top-ups")
    while True:
        await asyncio.sleep(_BUYS_S)
        account = chance.choice(crowd.holders[crowd.rich :]).account_id
        try:
            async with asyncio.timeout(_BUYS_S), sessions.begin() as session:
                _ = await add(session, account, TOP_UP, Cause("benchmarks"))
        except (*UNAVAILABLE, DBAPIError):
            continue
