"""Connections are lent in turn, handed on by whoever gives up, and closed when they are old."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.support.database_server import LIMIT_S, Server, until, within
from tokenbalance.database.connections import lender as lending
from tokenbalance.database.connections.hosts import Hosts
from tokenbalance.database.connections.lender import Lender

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tokenbalance.database.connections.hosts import Connection

LONG_S = 60.0


@asynccontextmanager
async def lender_on(server: Server, size: int, idle_s: float = LONG_S) -> AsyncGenerator[Lender]:
    """A lender whose connections were all given back at the end."""
    lender = Lender(Hosts(server.dsn, "lender", LIMIT_S).connect, size, idle_s)
    yield lender
    with within(LIMIT_S):
        await lender.close()
    assert lender.open_connections == ()


async def wait_in_line(lender: Lender) -> asyncio.Task[Connection]:
    """Wait for a connection in a task, which stands in line when this returns."""
    waiting = asyncio.create_task(lender.borrow())
    await asyncio.sleep(0)
    return waiting


async def test_who_has_waited_longest_is_next(server: Server) -> None:
    async with lender_on(server, 1) as lender:
        lent = await lender.borrow()
        first, second = await wait_in_line(lender), await wait_in_line(lender)
        lender.give_back(lent)
        assert await first is lent
        assert not second.done()
        lender.give_back(lent)
        assert await second is lent
        lender.give_back(lent)


async def test_who_is_cancelled_with_a_connection_in_hand_hands_it_on(server: Server) -> None:
    async with lender_on(server, 1) as lender:
        lent = await lender.borrow()
        first, second = await wait_in_line(lender), await wait_in_line(lender)
        lender.give_back(lent)
        _ = first.cancel()
        with within(LIMIT_S):
            assert await second is lent
        assert first.cancelled()
        lender.give_back(lent)


async def test_who_is_cancelled_with_a_place_in_hand_hands_that_on(server: Server) -> None:
    async with lender_on(server, 1) as lender:
        lent = await lender.borrow()
        first, second = await wait_in_line(lender), await wait_in_line(lender)
        lender.drop(lent)
        _ = first.cancel()
        with within(LIMIT_S):
            other = await second
        assert other is not lent
        lender.give_back(other)


async def test_what_expires_on_its_way_to_a_waiter_is_replaced(server: Server) -> None:
    async with lender_on(server, 1) as lender:
        lent = await lender.borrow()
        waiting = await wait_in_line(lender)
        lender.give_back(lent)
        lender.expire()
        with within(LIMIT_S):
            other = await waiting
        assert lent.is_closed()
        assert lender.open_connections == (other,)
        lender.give_back(other)


async def test_a_failed_attempt_leaves_its_place_to_the_next(server: Server) -> None:
    connect = Hosts(server.dsn, "lender", LIMIT_S).connect
    attempts = iter([OSError("refused")])

    async def fail_once() -> Connection:
        for error in attempts:
            raise error
        return await connect()

    lender = Lender(fail_once, 1, LONG_S)
    with pytest.raises(OSError, match="refused"):
        _ = await lender.borrow()
    lender.give_back(await lender.borrow())
    await lender.close()


async def test_a_transaction_left_open_ends_with_its_connection(server: Server) -> None:
    async with lender_on(server, 1) as lender:
        lent = await lender.borrow()
        _ = await lent.execute("BEGIN")
        lender.give_back(lent)
        assert lent.is_closed()


async def test_a_connection_is_closed_after_many_uses(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lending, "USES_MAX", 2)
    async with lender_on(server, 1) as lender:
        lent = await lender.borrow()
        lender.give_back(lent)
        assert await lender.borrow() is lent
        lender.give_back(lent)
        assert lent.is_closed()


async def test_those_that_are_free_for_too_long_are_closed(server: Server) -> None:
    async with lender_on(server, 2, idle_s=0.05) as lender:
        both = [await lender.borrow(), await lender.borrow()]
        for lent in both:
            lender.give_back(lent)
        await until(lambda: not lender.open_connections, "both are closed")


async def test_closing_waits_for_what_is_lent_and_turns_the_others_away(server: Server) -> None:
    lender = Lender(Hosts(server.dsn, "lender", LIMIT_S).connect, 1, LONG_S)
    lent = await lender.borrow()
    waiting = await wait_in_line(lender)
    closing = asyncio.create_task(lender.close())
    with pytest.raises(asyncpg.InterfaceError):
        _ = await waiting
    with pytest.raises(asyncpg.InterfaceError):
        _ = await lender.borrow()
    assert not closing.done()
    lender.give_back(lent)
    with within(LIMIT_S):
        await closing
    assert lent.is_closed()


async def test_closing_that_is_cancelled_closes_what_is_lent(server: Server) -> None:
    lender = Lender(Hosts(server.dsn, "lender", LIMIT_S).connect, 1, LONG_S)
    lent = await lender.borrow()
    closing = asyncio.create_task(lender.close())
    await asyncio.sleep(0)
    _ = closing.cancel()
    with suppress(asyncio.CancelledError):
        await closing
    assert lent.is_closed()
