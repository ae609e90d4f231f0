"""What a request costs whose upstream misbehaves, and pieces of responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.books import account_of, charges_of, hold_states
from tests.support.chat import CHAT
from tests.support.upstream import (
    Framing,
)

if TYPE_CHECKING:
    import httpx2
    import pytest

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


BALANCE = 1000


INPUT = 9
"""Tokens of the chat's input."""


WORDS = "one two three"
"""3 tokens."""


MEGABYTE = 1024 * 1024


MEMORY_MAX = 64 * MEGABYTE
"""What a huge answer may cost in memory, in product, upstream and client together."""


OK_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


CHUNKED = b"transfer-encoding: chunked\r\n\r\n"


async def post(
    http: httpx2.AsyncClient, holder: Holder, body: dict[str, Any] = CHAT
) -> httpx2.Response:
    return await http.post("/v1/chat/completions", json=body, headers=holder.headers)


async def assert_free(pool: Pool, holder: Holder) -> None:
    """Every hold was voided and nothing charged."""
    assert set(await hold_states(pool, holder)) == {"voided"}
    assert (await account_of(pool, holder)).balance == BALANCE


@dataclass(frozen=True)
class Cost:
    """One charge."""

    total: int
    estimated: bool = False


COUNTED = Cost(INPUT + 3, estimated=True)
"""The input and `WORDS` were counted."""


INPUT_ONLY = Cost(INPUT, estimated=True)


FREE = Cost(0)
"""Nothing of an answer came."""


REPORTED = Cost(12)
"""What the usage event says."""


async def assert_cost(pool: Pool, holder: Holder, cost: Cost) -> None:
    """The one request was charged that, once; what is free was voided."""
    if cost is FREE:
        await assert_free(pool, holder)
        return
    assert await hold_states(pool, holder) == ["settled"]
    charges = [(row["total"], row["estimated"]) for row in await charges_of(pool, holder)]
    assert charges == [(cost.total, cost.estimated)]
    assert (await account_of(pool, holder)).balance == BALANCE - cost.total


def error_code(response: httpx2.Response) -> str:
    return response.json()["error"]["code"]


def shorten_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenbalance.wire.upstream.dialing.CONNECT_TIMEOUT_S", 0.3)
    monkeypatch.setattr("tokenbalance.wire.upstream.connections.READ_TIMEOUT_S", 0.3)


def assert_incomplete(response: httpx2.Response) -> None:
    """The client was told, told what it cost, and told not to buy it again."""
    assert (response.status_code, error_code(response)) == (424, "upstream_incomplete")
    assert response.headers["x-should-retry"] == "false"
    charge, balance = (
        int(response.headers[f"x-tokenbalance-{name}"]) for name in ("charge", "balance")
    )
    assert 0 < charge == BALANCE - balance


# --- an answer outside 2xx: as it came, and free ------------------------------------------------


@dataclass(frozen=True)
class Odd:
    """An answer that is odd in one way."""

    status: int
    body: bytes = b""
    content_type: str | None = "application/json"
    framing: Framing = Framing.LENGTH


# --- 2xx: charged for whatever of an answer there is --------------------------------------------


def document(usage: bytes) -> bytes:
    """A chat's answer with that text for its usage."""
    return b'{"choices":[{"index":0,"message":{"content":"%b"}}]%b}' % (WORDS.encode(), usage)


def report(prompt: str, completion: str, total: str) -> bytes:
    """A usage object, spelled by hand, since much of this is no JSON."""
    return (
        f'{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total}}}'
    ).encode()


GOOD = report("9", "3", "12")


LARGER = report("9", "11", "20")
