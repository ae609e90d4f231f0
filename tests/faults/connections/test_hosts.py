"""A DSN with several hosts, and the name of connections."""

from __future__ import annotations

import asyncpg
import pytest

from tests.support.database_server import LIMIT_S, SIZE, Link, Server, database_with, fill, within
from tokenbalance.database.connections import UNAVAILABLE, open_pool
from tokenbalance.database.connections.hosts import one_host_each

pytestmark = pytest.mark.product_deadlines


async def test_a_silent_host_leaves_time_for_the_next_and_is_not_asked_first_again(
    server: Server, link: Link
) -> None:
    async with Link(server.address) as silent:
        silent.silent = True
        dsn = link.dsn.replace(link.host, f"{silent.host},{link.host}")
        async with open_pool(dsn, SIZE) as pool:
            with within(LIMIT_S):
                assert await pool.fetchval("SELECT 1") == 1
            await fill(pool)
        # One session found out that no pooler is in the way.
        assert (silent.connections, link.connections) == (1, SIZE + 1)


async def test_a_host_that_cannot_be_written_to_is_passed_over(server: Server, link: Link) -> None:
    dsn = f"{link.dsn}&target_session_attrs=read-write"
    async with open_pool(dsn.replace(link.host, f"{link.host},{link.host}"), 1) as pool:
        async with database_with(server, "default_transaction_read_only = on"):
            with pytest.raises(UNAVAILABLE) as error:
                await pool.fetchrow("SELECT 1")
            assert isinstance(error.value, asyncpg.TargetServerAttributeNotMatched)
        assert await pool.fetchval("SELECT 1") == 1


@pytest.mark.parametrize(
    ("dsn", "hosts"),
    [
        ("postgresql://a/d", ["postgresql://a/d"]),
        ("postgresql://u:p,w@a:1/d?x=1,2", ["postgresql://u:p,w@a:1/d?x=1,2"]),
        ("postgresql://u@a:1,b/d?x=1", ["postgresql://u@a:1/d?x=1", "postgresql://u@b/d?x=1"]),
        ("postgres://[::1]:5,[::2]/d", ["postgres://[::1]:5/d", "postgres://[::2]/d"]),
        ("postgresql:///d?host=/run/a,b", ["postgresql:///d?host=/run/a,b"]),
    ],
)
def test_an_address_is_parted_into_its_hosts(dsn: str, hosts: list[str]) -> None:
    assert one_host_each(dsn) == hosts


async def test_connections_bear_the_name_they_were_given(server: Server) -> None:
    async with open_pool(server.dsn, 1, "somebody") as pool:
        assert await pool.fetchval("SHOW application_name") == "somebody"
