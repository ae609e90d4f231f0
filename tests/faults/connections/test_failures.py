"""Which errors mean that the database cannot do it now."""

from __future__ import annotations

import asyncio
import ssl

import asyncpg
import pytest
from asyncpg.exceptions import PostgresError

from tokenbalance.database.connections import UNAVAILABLE, Pool

pytestmark = pytest.mark.product_deadlines


NOT_NOW = """
    08000 08001 08003 08004 08006 08P01 25006 25P03 25P04 26000 28000 28P01 3D000
    40001 40003 40P01 42703 42P01 42P05 53000 53100 53200 53300 53400 55000 55006 55P03
    57014 57P01 57P02 57P03 57P04 57P05 58000 58030 58P01 XX000 XX001 XX002 ZZ123
""".split()  # noqa: SIM905 - a table to read


WRONG = """
    0A000 21000 22001 22003 22012 22021 22P02 23001 23502 23503 23505 23514 23P01
    25P02 42501 42601 42804 42883 42P02 54000 54001 P0001
""".split()  # noqa: SIM905 - a table to read


@pytest.mark.parametrize(
    "sqlstate",
    NOT_NOW,
)
def test_what_the_database_cannot_do_now_is_known(sqlstate: str) -> None:
    assert isinstance(PostgresError.new({"C": sqlstate, "M": "no"}), UNAVAILABLE)


@pytest.mark.parametrize(
    "sqlstate",
    WRONG,
)
def test_a_wrong_statement_is_not_taken_for_a_database_that_is_away(sqlstate: str) -> None:
    assert not isinstance(PostgresError.new({"C": sqlstate, "M": "no"}), UNAVAILABLE)


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        ConnectionRefusedError(),
        FileNotFoundError(),  # of a unix socket
        ssl.SSLCertVerificationError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 11"),
        asyncpg.TargetServerAttributeNotMatched("no host is writable"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_driver_says_of_a_lost_connection_is_known(error: Exception) -> None:
    assert isinstance(error, UNAVAILABLE)


@pytest.mark.parametrize("error", [ValueError(), TypeError(), asyncio.CancelledError()], ids=repr)
def test_our_own_mistakes_are_not_the_databases(error: BaseException) -> None:
    assert not isinstance(error, UNAVAILABLE)


@pytest.mark.parametrize("wrong", [10**30, "text", "\ud800"])
async def test_a_value_that_no_column_takes_is_no_outage(pool: Pool, wrong: object) -> None:
    with pytest.raises(asyncpg.DataError) as error:
        await pool.fetchval("SELECT $1::bigint", wrong)
    assert not isinstance(error.value, UNAVAILABLE)
