"""What uploads may occupy: bytes on the disk, bytes in memory, and time."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tests.support.forms import CONTENT_TYPE, SURFACE, file, form
from tests.support.product import serving
from tests.support.raw_requests import connection_to
from tests.support.slow_client import status_for
from tests.support.upstream import Gate, Response
from tokenbalance.errors import ServiceUnavailable, TooManyRequests
from tokenbalance.proxy import room as rooms
from tokenbalance.proxy.room import (
    ACCOUNT_UPLOADS,
    MEBIBYTE,
    PROCESS_UPLOADS,
    UNCOUNTED_BYTES,
    Room,
)
from tokenbalance.wire.client import request as wire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.books import Holder
    from tests.support.raw_requests import RawConnection, RawResponse
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

SIZE = 2 * MEBIBYTE


def head_of(holder: Holder, length: int = SIZE) -> str:
    return (
        f"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {holder.secret}\r\n"
        f"Content-Type: {CONTENT_TYPE}\r\nContent-Length: {length}\r\n\r\n"
    )


async def asked_first(connection: RawConnection, holder: Holder, length: int = SIZE) -> RawResponse:
    """Send a head and wait for what is said to it."""
    head = head_of(holder, length).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n")
    connection.writer.write(head.encode())
    return await connection.response()


async def test_an_account_may_have_so_many_uploads_in_progress(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder, other = await create_holder(pool, 0), await create_holder(pool, 0)
    upstream.always(Response(body=b'{"id": "file-1"}'))
    async with (
        serving(dsn, upstream.base_url, SURFACE, upload_max_mb=2) as url,
        AsyncExitStack() as stack,
    ):
        for _ in range(ACCOUNT_UPLOADS):
            connection = await stack.enter_async_context(connection_to(url))
            # It is told to go on once there is room for it.
            assert (await asked_first(connection, holder)).status == 100
        refused = await stack.enter_async_context(connection_to(url))
        refused.writer.write(head_of(holder).encode())
        response = await refused.response()
        assert (response.status, response.error["code"]) == (429, "rate_limit_exceeded")
        assert "uploads of this account" in response.error["message"]
        body = form(file("file", bytes(SIZE - 1000)))
        served = await stack.enter_async_context(connection_to(url))
        served.writer.write(head_of(other, len(body)).encode() + body)
        assert (await served.response()).status == 200
    assert len(upstream.requests) == 1


def test_bytes_on_the_disk_are_counted_for_an_account_and_for_all_and_given_back() -> None:
    room = Room(upload_bytes_max=10)
    with ExitStack() as stack:
        for account in range(PROCESS_UPLOADS // ACCOUNT_UPLOADS):
            place = stack.enter_context(room.enter(account))
            place.store(10 * ACCOUNT_UPLOADS)
            place.store(5)
            with room.enter(account) as more, pytest.raises(TooManyRequests, match="uploads"):
                more.store(1)
        with room.enter(-1) as one_more, pytest.raises(ServiceUnavailable, match="upload"):
            one_more.store(1)
        assert room.stored_bytes == 10 * PROCESS_UPLOADS
    assert (room.stored_bytes, len(room)) == (0, 0)


def test_bytes_that_have_gone_to_the_disk_are_not_counted_as_memory() -> None:
    room = Room()
    with room.enter(1) as place:
        place.keep(MEBIBYTE)
        assert room.unpaid_bytes == MEBIBYTE - UNCOUNTED_BYTES
        place.release(UNCOUNTED_BYTES + 1)
        assert room.unpaid_bytes == 1
        place.release(0)
        assert room.unpaid_bytes == 0
        place.keep(MEBIBYTE)
        place.pay()
        place.release(0)
        assert room.unpaid_bytes == 0


async def test_uploads_take_no_room_of_bodies_in_memory(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = await create_holder(pool, 0)
    monkeypatch.setattr(rooms, "ACCOUNT_BYTES_MAX", 3 * MEBIBYTE)
    monkeypatch.setattr(rooms, "PROCESS_BYTES_MAX", 3 * MEBIBYTE)
    upstream.always(Response(body=b'{"id": "file-1"}'))
    body = form(file("file", bytes(8 * MEBIBYTE)))
    async with (
        serving(dsn, upstream.base_url, SURFACE, body_max_mb=1) as url,
        AsyncExitStack() as stack,
    ):
        connections = [await stack.enter_async_context(connection_to(url)) for _ in range(4)]
        for connection in connections:
            connection.writer.write(head_of(holder, len(body)).encode() + body)
        statuses = [(await connection.response()).status for connection in connections]
    assert statuses == [200] * 4


async def test_an_upload_on_its_way_upstream_takes_no_memory(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = await create_holder(pool, 0)
    monkeypatch.setattr(rooms, "ACCOUNT_BYTES_MAX", MEBIBYTE)
    gate = Gate()
    upstream.always(Response(body=b'{"id": "file-1"}', head_gate=gate))
    body = form(file("file", bytes(2 * MEBIBYTE)))
    async with (
        serving(dsn, upstream.base_url, SURFACE, body_max_mb=1) as url,
        AsyncExitStack() as stack,
    ):
        connections = [await stack.enter_async_context(connection_to(url)) for _ in range(8)]
        for number, connection in enumerate(connections, start=1):
            connection.writer.write(head_of(holder, len(body)).encode() + body)
            await upstream.received(number)
        gate.open()
        statuses = [(await connection.response()).status for connection in connections]
    assert statuses == [200] * 8


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 0)
    upstream.always(Response(body=b'{"id": "file-1"}'))
    body = form(file("file", bytes(3 * MEBIBYTE)))
    async with serving(dsn, upstream.base_url, SURFACE, upload_max_mb=3) as url:
        # More of them than an account may have at once.
        for _ in range(2 * ACCOUNT_UPLOADS):
            async with connection_to(url) as connection:
                connection.writer.write(head_of(holder, len(body)).encode() + body[:-1])
                await connection.writer.drain()
        status = 429
        async with asyncio.timeout(60):
            while status == 429:
                async with connection_to(url) as connection:
                    status = (await asked_first(connection, holder, len(body))).status
    assert (status, upstream.requests) == (100, [])


async def slowly(*, is_silent: bool) -> AsyncGenerator[bytes]:
    """Begin a file, and then send no more of it, or a byte now and then."""
    yield form(file("file", ""))[:-40]
    for _ in range(900 if not is_silent else 0):
        yield b" "
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("is_silent", [True, False])
async def test_an_upload_that_is_too_slow_is_refused(
    dsn: str,
    pool: Pool,
    upstream: ScriptedUpstream,
    monkeypatch: pytest.MonkeyPatch,
    is_silent: bool,
) -> None:
    holder = await create_holder(pool, 0)
    monkeypatch.setattr(wire, "BODY_START_S", 30.0 if is_silent else 0.3)
    monkeypatch.setattr(wire, "BODY_SILENCE_MAX_S", 0.3 if is_silent else 30.0)
    monkeypatch.setattr(wire, "BODY_BYTES_PER_S", 10**9)
    async with serving(dsn, upstream.base_url, SURFACE) as url:
        status = await status_for(url, head_of(holder), slowly(is_silent=is_silent))
    assert status == b"HTTP/1.1 408"
    assert upstream.requests == []
