"""Fills empty books with accounts and requests, in the order in which requests would have come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

import asyncpg

from benchmarks.ledger_size.schema import (
    AMPLE,
    GRANTS,
    LEDGER,
    OPEN_HOLDS,
    REQUESTS,
    written,
)
from tokenbalance.model import Caller

TIMEOUT_S: Final = 3600.0
_PEOPLE: Final = """
WITH made AS (
    INSERT INTO users (email)
    SELECT format('seeded%s@benchmarks.example', n) FROM generate_series(1, $1) n
    RETURNING id
), opened AS (
    INSERT INTO accounts (user_id, balance) SELECT id, {ample} FROM made RETURNING id
)
INSERT INTO api_keys (account_id, prefix, secret_sha256)
SELECT id, 'tb-' || lpad(to_hex(id), 6, '0'), sha256(format('secret %s', id)::bytea) FROM opened
"""
_ACCOUNTS: Final = """
CREATE TEMP TABLE seeded_accounts AS
SELECT row_number() OVER (ORDER BY a.id) - 1 AS number, a.id AS account_id, k.id AS key_id
  FROM accounts a JOIN api_keys k ON k.account_id = a.id;
ANALYZE seeded_accounts;
"""
_REQUESTS: Final = """
-- $1 requests, over thirty days; each account is as likely as any other
CREATE TEMP TABLE seeded_requests AS
WITH drawn AS (
    SELECT n, floor(random() * (SELECT count(*) FROM seeded_accounts))::bigint AS number,
           now() - interval '1 hour' - n * interval '30 days' / {requests} AS created_at
      FROM generate_series(1, {requests}) n
)
SELECT account_id, key_id, created_at, created_at + interval '0.9 s' AS ended_at,
       'tb_' || lpad(to_hex((extract(epoch FROM created_at) * 1000)::bigint), 12, '0')
             || substr(md5(n::text), 1, 20) AS request_id,
       'req_' || md5('upstream' || n) AS upstream_request_id,
       row_number() OVER (PARTITION BY account_id ORDER BY created_at) AS place
  FROM drawn JOIN seeded_accounts USING (number)
"""
_BALANCES: Final = """
UPDATE accounts SET balance = {ample} - {charge} * number
  FROM (SELECT account_id, count(*) AS number FROM seeded_requests GROUP BY 1) each
 WHERE id = account_id
"""
_HELD: Final = """
UPDATE accounts SET held = held + {hold}
 WHERE id IN (SELECT account_id FROM seeded_accounts ORDER BY account_id LIMIT $1)
"""
# Checking each reference takes longer than all the rest; the audit checks them at the end.
_SET_UP: Final = """
SET session_replication_role = replica; SET synchronous_commit = off; SET work_mem = '256MB'
"""
_CALLERS: Final = """
SELECT a.user_id, a.id, k.id, k.secret_sha256
  FROM accounts a JOIN api_keys k ON k.account_id = a.id ORDER BY a.id
"""


@dataclass(frozen=True, slots=True)
class Seeds:
    """How much there is to be."""

    accounts: int = 200_000
    requests: int = 1_000_000


async def seed_people(connection: asyncpg.Connection, seeds: Seeds) -> None:
    """Make the accounts, each with a key and a grant."""
    await connection.execute(_SET_UP)
    await connection.execute(written(_PEOPLE), seeds.accounts)
    await connection.execute(_ACCOUNTS)
    await connection.execute(written(GRANTS))
    await connection.execute("VACUUM ANALYZE")


async def seed_requests(connection: asyncpg.Connection, seeds: Seeds) -> None:
    """Make the requests of the accounts that were made on this connection."""
    await connection.execute(_REQUESTS.format(requests=seeds.requests))
    # Rows of long ago are to be summed from the beginning, not noted as late one by one.
    await connection.execute(f"ALTER TABLE {LEDGER} DISABLE TRIGGER USER")
    await connection.execute(written(REQUESTS))
    await connection.execute(f"ALTER TABLE {LEDGER} ENABLE TRIGGER USER")
    await connection.execute(written(_BALANCES))
    await connection.execute("VACUUM ANALYZE")


async def open_holds(connection: asyncpg.Connection, number: int) -> None:
    """Place so many holds, each of another account, and tell the planner nothing about it."""
    await connection.execute(_ACCOUNTS)
    await connection.execute(written(_HELD), number)
    await connection.execute(written(OPEN_HOLDS), number)


async def read_callers(dsn: str) -> list[Caller]:
    """Return the callers of all accounts, as the proxy knows them once it has looked at a key."""
    connection = await asyncpg.connect(dsn, command_timeout=TIMEOUT_S)
    try:
        rows = await connection.fetch(_CALLERS)
    finally:
        await connection.close()
    return [
        Caller(user_id, account_id, key_id, available=AMPLE, secret_sha256=secret)
        for user_id, account_id, key_id, secret in cast(
            "list[tuple[int, int, int, bytes]]", [tuple(row) for row in rows]
        )
    ]
