"""The only SQL of these measurements that depends on the tables of the books, and their usage.

Each list of statements fills the books from two temporary tables, `seeded_accounts` and
`seeded_requests`, as requests would have filled them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tokenbalance.model import Usage

if TYPE_CHECKING:
    import asyncpg

AMPLE: Final = 1_000_000_000_000
"""The balance that every account begins with, in credits."""
HOLD: Final = 60
CHARGE: Final = 21
USED: Final = Usage(input=9, output=12, total=CHARGE)


@dataclass(frozen=True, slots=True)
class Schema:
    """One version of the tables."""

    ledger: str
    """The table with the charges."""
    per_request: tuple[str, ...]
    """The tables that get rows with every request."""
    triggered: tuple[str, ...]
    """Those with triggers that note rows of long ago, which seeding is to do without."""
    grants: str
    requests: tuple[str, ...]
    open_holds: str
    """$1 how many, all of them of different accounts; leaves what they hold to the caller."""
    columns: str
    """Of a ledger row of a request, for `rows`."""
    rows: str
    """Their values, of a number `n` and an account `account_id`."""


_GRANT: Final = """
INSERT INTO {table} (account_id, kind, amount, balance_after, actor)
SELECT account_id, 'grant', {{ample}}, {{ample}}, 'benchmarks'
  FROM seeded_accounts ORDER BY account_id
"""
_FIGURES: Final = {
    "ample": AMPLE,
    "hold": HOLD,
    "charge": CHARGE,
    "balance_after": f"{AMPLE} - {CHARGE} * place",
    "open_request": "'tb_' || lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0')"
    " || substr(md5(number::text), 1, 20)",
}


def _with_figures(schema: Schema) -> Schema:
    return replace(
        schema,
        grants=schema.grants.format_map(_FIGURES),
        requests=tuple(each.format_map(_FIGURES) for each in schema.requests),
        open_holds=schema.open_holds.format_map(_FIGURES),
        rows=schema.rows.format_map(_FIGURES),
    )


THREE_TABLES: Final = Schema(
    ledger="ledger_entries",
    per_request=("holds", "usage", "ledger_entries"),
    triggered=("usage",),
    grants=_GRANT.format(table="ledger_entries"),
    requests=(
        """
INSERT INTO holds (account_id, request_id, key_id, amount, endpoint, model, state, created_at,
                   ended_at, lease_until, known_input, estimated_input, estimated_output,
                   upstream_status, upstream_request_id, first_byte_ms, total_ms, streamed)
SELECT account_id, request_id, key_id, {hold}, '/chat/completions', 'gpt-4o-mini', 'settled',
       created_at, ended_at, created_at + interval '1 minute', 9, 9, 51,
       200, upstream_request_id, 400, 900, false
  FROM seeded_requests ORDER BY created_at
""",
        """
INSERT INTO usage (account_id, request_id, input, cached_input, output, reasoning, audio_input,
                   audio_output, total, charge, overrun, estimated, created_at)
SELECT account_id, request_id, 9, 0, 12, 0, 0, 0, {charge}, {charge}, 0, false, ended_at
  FROM seeded_requests ORDER BY created_at
""",
        """
INSERT INTO ledger_entries (account_id, kind, amount, balance_after, request_id, actor, created_at)
SELECT account_id, 'charge', -{charge}, {balance_after}, request_id, 'proxy', ended_at
  FROM seeded_requests ORDER BY created_at
""",
    ),
    open_holds="""
INSERT INTO holds (account_id, request_id, key_id, amount, endpoint, model, lease_until)
SELECT account_id, {open_request}, key_id, {hold}, '/chat/completions', 'gpt-4o-mini',
       now() + interval '1 hour'
  FROM seeded_accounts ORDER BY account_id LIMIT $1
""",
    columns="account_id, kind, amount, balance_after, request_id, actor",
    rows="account_id, 'charge', -{charge}, {ample}, 'tb_' || lpad(to_hex(n), 32, '0'), 'proxy'",
)

ONE_ROW_A_REQUEST: Final = Schema(
    ledger="ledger",
    per_request=("open_holds", "ledger"),
    triggered=("ledger",),
    grants=_GRANT.format(table="ledger"),
    requests=(
        """
INSERT INTO ledger (account_id, kind, state, amount, balance_after, request_id, key_id, hold,
                    total, quantities, endpoint, model, started_at, estimated_input,
                    estimated_output, upstream_status, upstream_request_id, first_byte_ms,
                    total_ms, streamed, actor, created_at)
SELECT account_id, 'charge', 'settled', -{charge}, {balance_after}, request_id, key_id, {hold},
       {charge}, jsonb_build_object('input', 9, 'output', 12), '/chat/completions', 'gpt-4o-mini',
       created_at, 9, 51, 200, upstream_request_id, 400, 900, false, 'proxy', ended_at
  FROM seeded_requests ORDER BY created_at
""",
    ),
    open_holds="""
INSERT INTO open_holds (account_id, request_id, key_id, amount, endpoint, model, lease_until)
SELECT account_id, {open_request}, key_id, {hold}, '/chat/completions', 'gpt-4o-mini',
       now() + interval '1 hour'
  FROM seeded_accounts ORDER BY account_id LIMIT $1
""",
    columns="account_id, kind, state, amount, balance_after, request_id, key_id, hold, total,"
    " quantities, endpoint, model, started_at, actor",
    rows="account_id, 'charge', 'settled', -{charge}, {ample}, 'tb_' || lpad(to_hex(n), 32, '0'),"
    " account_id, {hold}, {charge}, jsonb_build_object('input', 9, 'output', 12),"
    " '/chat/completions', 'gpt-4o-mini', now(), 'proxy'",
)


async def schema_of(connection: asyncpg.Connection) -> Schema:
    """Return the version that a database has."""
    is_new: bool = await connection.fetchval("SELECT to_regclass('open_holds') IS NOT NULL")
    return _with_figures(ONE_ROW_A_REQUEST if is_new else THREE_TABLES)
