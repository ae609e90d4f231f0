"""Fills a database with users, requests and entries, as if it had been in use for a while.

    python -m benchmarks.seeding [DSN] [--users 10000] [--entries 1000000] [--days 90]

Without an address it makes an embedded Postgres in a temporary folder, which stays. Few users make
most of the requests. The books pass `ledger verify`: each statement writes what the product would
have written, and usage is summed up at the end as the product does it. Everybody's password is
PASSWORD, the superuser's e-mail SUPERUSER.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from benchmarks.verdict import say
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.reports.rollup import RollUp
from tokenbalance.database.connections import open_sessions
from tokenbalance.database.migrate import migrate_in_thread
from tokenbalance.model import CLI, SCOPES
from tokenbalance.people.keys import create_key
from tokenbalance.people.passwords import hash_password
from tokenbalance.people.users import UnknownUser, create_user, find_user
from tokenbalance.postgres import EmbeddedPostgres

USERS: Final = 10_000
ENTRIES: Final = 1_000_000
DAYS: Final = 90
SUPERUSER: Final = "superuser@seeded.example"
PASSWORD: Final = "of everybody who is seeded"  # noqa: S105 - there is nothing behind it
_TIMEOUT_S: Final = 600.0

_USERS: Final = """
-- $1 users, $2 days, $3 hash of the password
WITH made AS (
    INSERT INTO users (email, name, password_hash, created_at)
    SELECT format('user%s.%s@seeded.example', n, substr(md5(random()::text), 1, 6)),
           'Seeded ' || n, $3, now() - make_interval(days => $2 + 1)
      FROM generate_series(1, $1) n
    RETURNING id, created_at
), accounts AS (
    INSERT INTO accounts (user_id, created_at)
    SELECT id, created_at FROM made
    RETURNING id, created_at
), keys AS (
    INSERT INTO api_keys (account_id, name, prefix, secret_sha256, created_at)
    SELECT id, (ARRAY['laptop', 'notebook', 'bot'])[n], 'tb-' || substr(md5(random()::text), 1, 6),
           sha256(format('%s %s %s', id, n, random())::bytea), created_at
      FROM accounts CROSS JOIN LATERAL generate_series(1, 1 + id % 3) n
    RETURNING id, account_id
)
INSERT INTO seeded_accounts
SELECT account_id, row_number() OVER (ORDER BY account_id), array_agg(id) FROM keys GROUP BY 1
"""

# The share of the n-th user falls with its number, as it does among people.
_REQUESTS: Final = """
-- $1 requests, $2 days
INSERT INTO seeded_requests
WITH shares AS (
    SELECT array_agg(upto / last ORDER BY upto) AS bounds
      FROM (SELECT sum(share) OVER (ORDER BY number) AS upto, sum(share) OVER () AS last
              FROM (SELECT number, number ^ -0.87::float8 AS share
                      FROM seeded_accounts) each) shares
), drawn AS (
    SELECT n, now() - random() * make_interval(days => $2) - interval '30 s' AS created_at,
           least(width_bucket(random(), bounds) + 1, cardinality(bounds)) AS number,
           random() AS fate, random() AS pick, random() AS model, random() AS size,
           random() AS long
      FROM shares, generate_series(1, $1) n
)
SELECT account_id, 'tb_' || lpad(to_hex(floor(extract(epoch FROM created_at) * 1000)::bigint),
                                 12, '0') || substr(md5(random()::text), 1, 20),
       key_ids[1 + floor(pick ^ 2 * cardinality(key_ids))::int],
       CASE WHEN model < 0.02 THEN '/moderations' ELSE '/chat/completions' END,
       CASE WHEN model < 0.02 THEN NULL WHEN model < 0.5 THEN 'gpt-4o-mini'
            WHEN model < 0.75 THEN 'gpt-4.1' WHEN model < 0.9 THEN 'gpt-5-mini'
            WHEN model < 0.99 THEN 'o4-mini' ELSE 'gpt-4o-audio-preview' END,
       CASE WHEN fate < 0.03 THEN 'voided' WHEN fate < 0.032 THEN 'expired' ELSE 'settled' END,
       fate > 0.995, created_at, created_at + (0.4 + long * 20) * interval '1 s',
       20 + floor(4000 * size ^ 4)::bigint,
       CASE WHEN model < 0.02 THEN 0 ELSE 1 + floor(2000 * long ^ 3)::bigint END,
       CASE WHEN fate BETWEEN 0.5 AND 0.501 THEN -1 ELSE floor(500 * pick)::bigint END
  FROM drawn JOIN seeded_accounts USING (number)
 ORDER BY created_at
"""

_LEDGER: Final = """
-- $1 days
INSERT INTO ledger (account_id, kind, state, amount, balance_after, request_id, key_id, hold,
                    overrun, total, quantities, estimated, endpoint, model, started_at,
                    estimated_input, estimated_output, actor, note, created_at)
WITH rows AS (
    SELECT account_id, CASE state WHEN 'voided' THEN 'void' ELSE 'charge' END AS kind, state,
           CASE state WHEN 'voided' THEN 0 ELSE -(input + output) END AS amount, request_id, key_id,
           input + output + spare AS hold,
           CASE state WHEN 'voided' THEN 0 ELSE greatest(-spare, 0) END AS overrun,
           CASE state WHEN 'voided' THEN 0 ELSE input + output END AS total,
           CASE WHEN state <> 'voided' THEN (
               SELECT jsonb_object_agg(kind, quantity)
                 FROM (VALUES ('input', input), ('cached_input', input / 3), ('output', output),
                              ('reasoning', CASE WHEN model LIKE 'o4%' THEN output / 2 END),
                              ('audio_input', CASE WHEN model LIKE '%audio%' THEN input / 2 END),
                              ('audio_output', CASE WHEN model LIKE '%audio%' THEN output / 2 END)
                      ) used (kind, quantity) WHERE quantity > 0) END AS quantities,
           state <> 'voided' AND (estimated OR state = 'expired') AS estimated, endpoint, model,
           created_at AS started_at, input AS estimated_input,
           output + greatest(spare, 0) AS estimated_output,
           CASE state WHEN 'expired' THEN 'sweep' ELSE 'proxy' END AS actor,
           CASE state WHEN 'expired' THEN 'its process was gone' ELSE '' END AS note,
           ended_at AS created_at
      FROM seeded_requests
     UNION ALL
    SELECT account_id, 'refund', NULL, (input + output + 1) / 2, request_id, NULL, NULL, 0, 0, NULL,
           false, NULL, NULL, NULL, NULL, NULL, 'cli', 'a poor answer',
           least(ended_at + interval '1 h', now())
      FROM seeded_requests WHERE state = 'settled' AND input % 300 = 1
     UNION ALL
    SELECT account_id, 'top-up', NULL, 10000, NULL, NULL, NULL, 0, 0, NULL, false, NULL, NULL, NULL,
           NULL, NULL, 'cli', 'by invoice', created_at
      FROM seeded_requests WHERE output % 100 = 1
     UNION ALL
    SELECT account_id, 'grant', NULL, 50000 + coalesce(sum(input + output), 0), NULL, NULL, NULL, 0,
           0, NULL, false, NULL, NULL, NULL, NULL, NULL, 'cli', 'to begin with',
           now() - make_interval(days => $1 + 1)
      FROM seeded_accounts LEFT JOIN seeded_requests USING (account_id)
     GROUP BY account_id
), numbered AS (
    SELECT *, row_number() OVER (ORDER BY created_at, kind <> 'charge') AS number FROM rows
)
SELECT account_id, kind, state, amount,
       CASE WHEN kind <> 'void'
            THEN sum(amount) OVER (PARTITION BY account_id ORDER BY number) END,
       request_id, key_id, hold, overrun, total, quantities, estimated, endpoint, model, started_at,
       estimated_input, estimated_output, actor, note, created_at
  FROM numbered ORDER BY number
"""

_BALANCES: Final = """
UPDATE accounts SET balance = total
  FROM (SELECT account_id, sum(amount) AS total FROM ledger GROUP BY 1) sums
 WHERE account_id = id AND balance <> total
"""

_TABLES: Final = """
CREATE TEMP TABLE seeded_accounts (account_id bigint, number bigint, key_ids bigint[]);
CREATE TEMP TABLE seeded_requests (
    account_id bigint, request_id text, key_id bigint, endpoint text, model text, state text,
    estimated boolean, created_at timestamptz, ended_at timestamptz, input bigint, output bigint,
    spare bigint);
SET work_mem = '256MB';
SET maintenance_work_mem = '512MB';
SET synchronous_commit = off;
"""

# What was used long ago is to be summed from the beginning, not noted as late a row at a time.
_BEFORE: Final = "ALTER TABLE ledger DISABLE TRIGGER ledger_is_late"
_AFTER: Final = """
ALTER TABLE ledger ENABLE TRIGGER ledger_is_late;
TRUNCATE usage_days, usage_day_kinds, usage_totals, usage_total_kinds, usage_changes, top_accounts;
UPDATE usage_summed SET until = '1970-01-01 00:00:00+00';
"""


@dataclass(frozen=True, slots=True)
class Seeds:
    """How much there is to be."""

    users: int = USERS
    entries: int = ENTRIES
    days: int = DAYS


async def seed(dsn: str, seeds: Seeds) -> None:
    """Fill a migrated database, prove its books, and sum its usage up."""
    connection = await asyncpg.connect(dsn, command_timeout=_TIMEOUT_S)
    try:
        await connection.execute(_TABLES)
        async with connection.transaction():
            await _fill(connection, seeds)
        await connection.execute("VACUUM ANALYZE")
        report = await audit(connection)
    finally:
        await connection.close()
    say(f"{report.accounts:,} accounts, {report.entries:,} entries")
    if not report.ok:
        raise RuntimeError("\n".join(report.violations[:10]))
    async with open_sessions(dsn) as sessions:
        await RollUp(sessions).catch_up()
    connection = await asyncpg.connect(dsn, command_timeout=_TIMEOUT_S)
    await connection.execute(
        "VACUUM ANALYZE usage_days, usage_day_kinds, usage_totals, usage_total_kinds, usage_summed,"
        " usage_changes"
    )
    await connection.close()


async def _fill(connection: asyncpg.Connection, seeds: Seeds) -> None:
    # Some requests cost nothing, and some entries are not charges.
    requests = max(seeds.entries - seeds.users, 0)
    # Hashing takes long, and is done once for all of them.
    password_hash = await hash_password(PASSWORD)
    await connection.execute(_USERS, seeds.users, seeds.days, password_hash)
    await connection.execute(_REQUESTS, requests, seeds.days)
    await connection.execute("ANALYZE seeded_requests")
    await connection.execute(_BEFORE)
    await connection.execute(_LEDGER, seeds.days)
    await connection.execute(_AFTER)
    await connection.execute(_BALANCES)


async def create_superuser(dsn: str) -> str:
    """Make the superuser, or give the one there is another key; gives the key."""
    async with open_sessions(dsn) as sessions, sessions.begin() as session:
        try:
            user = await find_user(session, SUPERUSER)
        except UnknownUser:
            user = await create_user(
                session,
                email=SUPERUSER,
                password_hash=await hash_password(PASSWORD),
                is_superuser=True,
                actor=CLI,
            )
        _, secret = await create_key(session, user.account.id, scopes=SCOPES, actor=CLI)
    return secret


def main() -> int:
    """Read the arguments, fill the database, say where it is."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seeding", description=__doc__)
    _ = parser.add_argument("dsn", nargs="?", help="a database of its own, not one in use")
    _ = parser.add_argument("--users", type=int, default=USERS)
    _ = parser.add_argument("--entries", type=int, default=ENTRIES)
    _ = parser.add_argument("--days", type=int, default=DAYS)
    given = parser.parse_args()
    seeds = Seeds(given.users, given.entries, given.days)
    with ExitStack() as stack:
        dsn, place = given.dsn, given.dsn
        if dsn is None:
            folder = Path(tempfile.mkdtemp(prefix="tokenbalance-seeded-"))
            dsn = stack.enter_context(EmbeddedPostgres.start_or_attach(folder, exclusive=True)).dsn
            place = f"TOKENBALANCE_DATA_DIR={folder}"
        began = time.monotonic()
        asyncio.run(_migrate_and_seed(dsn, seeds))
        say(f"filled and summed up in {time.monotonic() - began:.0f} s: {place}")
    return 0


async def _migrate_and_seed(dsn: str, seeds: Seeds) -> None:
    await migrate_in_thread(dsn)
    await seed(dsn, seeds)
    key = await create_superuser(dsn)
    say(f"superuser: {SUPERUSER}, password: {PASSWORD}, key: {key}")


if __name__ == "__main__":
    sys.exit(main())
