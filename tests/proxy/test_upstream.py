"""Connections to the upstream over real sockets: when they are kept, used again, and given up."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.support.sending import MEGABYTE, READ_BYTES, ask, read_all, send, until
from tests.support.upstream import Framing, Gate, Response, ScriptedUpstream
from tokenbalance.errors import UpstreamUnavailable
from tokenbalance.wire.upstream import Upstream, UpstreamAddress, UpstreamBroke, open_upstream
from tokenbalance.wire.upstream.incoming import UNREAD_BYTES_MAX

if TYPE_CHECKING:
    from tokenbalance.wire.upstream.connections import Connections


async def test_a_connection_is_used_again_and_the_one_that_was_free_last_comes_first(
    sending: Upstream, upstream: ScriptedUpstream
) -> None:
    gates = [Gate(), Gate()]
    upstream.script(*[Response(head_gate=gate) for gate in gates])
    asking: list[asyncio.Task[bytes]] = []
    for count, gate in enumerate(gates, start=1):
        asking.append(asyncio.create_task(ask(sending)))
        await upstream.received(count)
        await gate.reached.wait()
    for gate, task in zip(gates, asking, strict=True):
        gate.open()
        await task
    for _ in range(3):
        await ask(sending)
    assert [request.connection for request in upstream.requests] == [0, 1, 1, 1, 1]


async def test_a_connection_is_free_as_soon_as_its_answer_has_arrived_although_nobody_read_it(
    sending: Upstream, upstream: ScriptedUpstream
) -> None:
    upstream.script(Response(body=b"first"), Response(body=b"second"))
    first = await send(sending)
    second = await send(sending)
    # Closing the first must not end what its connection carries now.
    await first.close()
    assert await read_all(second) == b"second"
    assert await read_all(first) == b"first"
    assert [request.connection for request in upstream.requests] == [0, 0]


@pytest.mark.parametrize(
    "response",
    [
        Response(headers=[("connection", "close")]),
        Response(framing=Framing.CLOSE),
        Response(body=b"x" * 9, cut_after=5),
        Response(raw=b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}"),
    ],
    ids=["closing", "until it closes", "cut", "HTTP/1.0"],
)
async def test_a_connection_that_will_close_is_not_used_again(
    sending: Upstream, upstream: ScriptedUpstream, response: Response
) -> None:
    upstream.script(response)
    with suppress(UpstreamBroke):
        await ask(sending)
    await ask(sending)
    assert [request.connection for request in upstream.requests] == [0, 1]


async def test_a_connection_that_was_closed_while_idle_is_not_used(
    sending: Upstream, upstream: ScriptedUpstream, connections: Connections
) -> None:
    upstream.script(Response(close=True))
    await ask(sending)
    await until(lambda: not connections._open)
    await ask(sending)
    assert [request.connection for request in upstream.requests] == [0, 1]


async def test_a_connection_that_speaks_while_idle_is_not_used(
    sending: Upstream, upstream: ScriptedUpstream, connections: Connections
) -> None:
    gate = Gate()
    upstream.script(
        Response(raw=[b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", gate, b"HTTP"])
    )
    await ask(sending)
    gate.open()
    await until(lambda: not connections._open)
    await ask(sending)
    assert [request.connection for request in upstream.requests] == [0, 1]


async def test_a_connection_is_for_its_own_account_until_it_was_silent_for_a_while(
    sending: Upstream,
    upstream: ScriptedUpstream,
    connections: Connections,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for account in (1, 2, 1, 2):
        await ask(sending, account=account)
    assert [request.connection for request in upstream.requests] == [0, 1, 0, 1]
    monkeypatch.setattr("tokenbalance.wire.upstream.connections.SILENCE_S", 0.0)
    await until(lambda: len(connections._free) == 2)
    assert connections._of_account == {}
    for account in (3, 1):
        await ask(sending, account=account)
    assert [request.connection for request in upstream.requests[4:]] == [1, 0]


async def test_a_connection_that_was_idle_for_long_is_closed(
    sending: Upstream, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(sending)
    assert connections._open
    monkeypatch.setattr("tokenbalance.wire.upstream.connections.SILENCE_S", 0.0)
    monkeypatch.setattr("tokenbalance.wire.upstream.connections.KEEPALIVE_S", 0.0)
    await until(lambda: not connections._open)
    assert connections._free == []
    assert connections._of_account == {}


@pytest.mark.parametrize(("method", "is_sent_again"), [("POST", False), ("GET", True)])
async def test_only_what_changes_nothing_is_sent_again_when_a_kept_connection_dies(
    sending: Upstream, upstream: ScriptedUpstream, method: str, is_sent_again: bool
) -> None:
    upstream.script(Response(), Response(raw=b""), Response(body=b"again"))
    await ask(sending)
    if is_sent_again:
        assert await ask(sending, b"", method) == b"again"
    else:
        with pytest.raises(UpstreamUnavailable):
            await ask(sending, b"", method)
    assert len(upstream.requests) == 2 + is_sent_again


async def test_a_request_on_a_new_connection_is_sent_once_whatever_it_is(
    sending: Upstream, upstream: ScriptedUpstream
) -> None:
    upstream.script(Response(raw=b""))
    with pytest.raises(UpstreamUnavailable):
        await ask(sending, b"", "GET")
    assert len(upstream.requests) == 1


async def test_leaving_closes_what_is_idle_and_breaks_what_is_not(
    upstream: ScriptedUpstream,
) -> None:
    gate = Gate()
    upstream.script(Response(body=[b"begun", gate]), Response())
    async with open_upstream(UpstreamAddress(base_url=upstream.base_url, api_key="k")) as sending:
        response = await send(sending)
        await ask(sending)
    assert await response.read() == b"begun"
    with pytest.raises(UpstreamBroke):
        await response.read()
    await upstream.until(lambda: len(upstream.disconnected) == 1)


# --- what is given up ---------------------------------------------------------------------------


async def test_who_is_cancelled_before_the_head_closes_the_connection(
    sending: Upstream, upstream: ScriptedUpstream, connections: Connections
) -> None:
    upstream.script(Response(head_gate=Gate()))
    asking = asyncio.create_task(ask(sending))
    await upstream.received()
    asking.cancel()
    await asyncio.wait([asking])
    await upstream.until(lambda: len(upstream.disconnected) == 1)
    assert not [*connections._free, *connections._of_account]


async def test_an_answer_that_is_closed_before_its_end_closes_the_connection(
    sending: Upstream, upstream: ScriptedUpstream
) -> None:
    upstream.script(Response(body=[b"begun", Gate()]))
    response = await send(sending)
    assert await response.read() == b"begun"
    await response.close()
    await upstream.until(lambda: len(upstream.disconnected) == 1)
    await ask(sending)
    assert [request.connection for request in upstream.requests] == [0, 1]


# --- what is read -------------------------------------------------------------------------------


async def test_one_read_gives_all_that_has_arrived(
    sending: Upstream, upstream: ScriptedUpstream, connections: Connections
) -> None:
    gate = Gate()
    upstream.script(Response(body=[b"one ", b"two ", b"three", gate, b"four"]))
    response = await send(sending)
    (connection,) = connections._open
    incoming = connection._response
    assert incoming is not None
    await until(lambda: incoming._reader.unread_bytes == len("one two three"))
    assert await response.read() == b"one two three"
    gate.open()
    assert await response.read() == b"four"
    assert await response.read() == b""
    assert await response.read() == b""


async def test_what_had_arrived_before_a_break_is_given_first(
    sending: Upstream, upstream: ScriptedUpstream
) -> None:
    upstream.script(Response(body=b"x" * 9, cut_after=5))
    response = await send(sending)
    await upstream.until(upstream.requests[0].ended.is_set)
    assert await response.read() == b"xxxxx"
    for _ in range(2):
        with pytest.raises(UpstreamBroke):
            await response.read()


async def test_what_came_in_one_read_with_the_head_and_the_break_is_given_first(
    sending: Upstream, upstream: ScriptedUpstream
) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    upstream.script(Response(raw=head + b"5\r\nbegun\r\nzz\r\n"))
    response = await send(sending)
    assert await response.read() == b"begun"
    with pytest.raises(UpstreamBroke):
        _ = await response.read()


async def test_an_answer_that_nobody_reads_is_not_read_ahead_without_bound(
    sending: Upstream, upstream: ScriptedUpstream, connections: Connections
) -> None:
    size = 64 * MEGABYTE
    upstream.script(Response(body=b"x" * size))
    response = await send(sending)
    (connection,) = connections._open
    incoming = connection._response
    assert incoming is not None
    await until(lambda: connection._is_paused)
    assert incoming._reader.unread_bytes <= UNREAD_BYTES_MAX + READ_BYTES
    # However long the client takes, that is no silence of the upstream's.
    connection.look_at_clock(-1.0)
    assert len(await read_all(response)) == size


async def test_an_upstream_that_is_silent_while_somebody_waits_breaks_its_answer(
    sending: Upstream, upstream: ScriptedUpstream, connections: Connections
) -> None:
    upstream.script(Response(body=[b"begun", Gate()]))
    response = await send(sending)
    assert await response.read() == b"begun"
    reading = asyncio.create_task(read_all(response))
    (connection,) = connections._open
    incoming = connection._response
    assert incoming is not None
    await until(lambda: incoming.waits_since_s)
    connection.look_at_clock(600.0)
    assert not reading.done()
    connection.look_at_clock(-1.0)
    with pytest.raises(UpstreamBroke):
        await reading
