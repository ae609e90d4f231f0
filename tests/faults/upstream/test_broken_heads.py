"""Responses that break within their head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.books import charges_of, hold_states
from tests.support.chat import CHAT, STREAM
from tests.support.upstream import (
    Gate,
    Response,
    ScriptedUpstream,
)
from tests.support.upstream_faults import (
    GOOD,
    INPUT_ONLY,
    MEGABYTE,
    OK_HEAD,
    REPORTED,
    assert_cost,
    assert_free,
    assert_incomplete,
    document,
    error_code,
    post,
    shorten_timeouts,
)

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


BROKEN_HEADS = {
    "half a status line": b"HTTP/1.1 2",
    "half a status line of HTTP/1.0": b"HTTP/1.0 2",
    "half a status line behind an interim answer": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2",
    "an unfinished head": OK_HEAD,
    "an endless status line": b"HTTP/1.1 200 " + b"O" * MEGABYTE,
    "an endless header": OK_HEAD + b"x-endless: " + b"x" * MEGABYTE,
    "endless headers": OK_HEAD + b"x-again: 1\r\n" * 100_000,
    "two lengths": OK_HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "a negative length": OK_HEAD + b"content-length: -2\r\n\r\n{}",
    "a length that is no number": OK_HEAD + b"content-length: two\r\n\r\n{}",
    "a header without a colon": OK_HEAD + b"nonsense\r\ncontent-length: 2\r\n\r\n{}",
    "a zero byte in a header": OK_HEAD + b"x-zero: a\0b\r\ncontent-length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["document", "stream"])
@pytest.mark.parametrize("raw", BROKEN_HEADS.values(), ids=BROKEN_HEADS)
async def test_a_success_that_breaks_within_its_head_is_a_424_whose_input_is_charged(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    raw: bytes,
    body: dict[str, Any],
) -> None:
    upstream.script(Response(raw=raw))
    assert_incomplete(await post(http, holder, body))
    assert len(upstream.requests) == 1
    await assert_cost(pool, holder, INPUT_ONLY)


async def test_an_upstream_that_falls_silent_after_it_promised_a_success_is_a_424(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorten_timeouts(monkeypatch)
    upstream.script(Response(raw=[OK_HEAD, Gate()]))
    assert_incomplete(await post(http, holder))
    await assert_cost(pool, holder, INPUT_ONLY)


async def test_an_upstream_that_falls_silent_before_it_promised_anything_is_a_504_and_free(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorten_timeouts(monkeypatch)
    upstream.script(Response(raw=[b"HTTP/1.1 ", Gate()]))
    response = await post(http, holder)
    assert (response.status_code, error_code(response)) == (504, "upstream_timeout")
    await assert_free(pool, holder)


@pytest.mark.parametrize(
    ("raw", "status"),
    [(b"HTTP/1.1 500 No\r\nx-begun: ", 502), (OK_HEAD, 424)],
    ids=["an error", "a success"],
)
async def test_what_an_answer_promised_is_not_taken_from_the_one_before_on_its_connection(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    raw: bytes,
    status: int,
) -> None:
    # The account's own connection: another account's requests would not get it within a second.
    upstream.script(Response(body=document(b',"usage":' + GOOD)), Response(raw=raw))
    assert (await post(http, holder)).status_code == 200
    assert (await post(http, holder)).status_code == status
    assert len({request.connection for request in upstream.requests}) == 1
    charges = [(row["total"], row["estimated"]) for row in await charges_of(pool, holder)]
    expected = [REPORTED] if status == 502 else [REPORTED, INPUT_ONLY]
    assert charges == [(cost.total, cost.estimated) for cost in expected]
    states = await hold_states(pool, holder)
    assert sorted(states) == ["settled", "voided" if status == 502 else "settled"]
