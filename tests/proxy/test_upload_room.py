"""What uploads may occupy: bytes on the disk, bytes in memory, and time."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tests.support.forms import CONTENT_TYPE, SURFACE, file, form, text
from tests.support.product import serving
from tests.support.raw_requests import connection_to
from tests.support.slow_client import status_for
from tests.support.upstream import Response
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
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

SIZE = 2 * MEBIBYTE


def head_of(holder: Holder, length: int = SIZE) -> str:
    return (
        f"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {holder.secret}\r\n"
        f"Content-Type: {CONTENT_TYPE}\r\nContent-Length: {length}\r\n\r\n"
    )


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
            connection.writer.write(head_of(holder).encode() + form(text("a", "1"))[:-8])
            # Its head was read before that of the next one.
            await asyncio.sleep(0.05)
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
