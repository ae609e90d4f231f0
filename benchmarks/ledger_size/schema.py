"""The only SQL of these measurements that depends on the tables of the books, and their usage.

The statements fill the books from temporary tables, `seeded_accounts`, `seeded_requests` and
`numbered`, as requests would have filled them.
"""

from __future__ import annotations

from typing import Final

from tokenbalance.model import Usage

AMPLE: Final = 1_000_000_000_000
"""The balance that every account begins with, in credits."""
HOLD: Final = 60
CHARGE: Final = 21
USED: Final = Usage({"input": 9, "output": 12}, CHARGE)
LEDGER: Final = "ledger"
PER_REQUEST: Final = ("open_holds", "ledger")
"""The tables that get rows with every request."""

GRANTS: Final = """
INSERT INTO ledger (account_id, kind, amount, balance_after, actor)
SELECT account_id, 'grant', {ample}, {ample}, 'benchmarks'
  FROM seeded_accounts ORDER BY account_id
"""

REQUESTS: Final = """
INSERT INTO ledger (account_id, kind, state, amount, balance_after, request_id, key_id, hold,
                    total, quantities, endpoint, model, started_at, estimated_input,
                    estimated_output, upstream_status, upstream_request_id, first_byte_ms,
                    total_ms, streamed, actor, created_at)
SELECT account_id, 'charge', 'settled', -{charge}, {ample} - {charge} * place, request_id, key_id,
       {hold}, {charge}, jsonb_build_object('input', 9, 'output', 12), '/chat/completions',
       'gpt-4o-mini', created_at, 9, 51, 200, upstream_request_id, 400, 900, false, 'proxy',
       ended_at
  FROM seeded_requests ORDER BY created_at
"""

OPEN_HOLDS: Final = """
-- $1 how many, each of another account
INSERT INTO open_holds (account_id, request_id, key_id, amount, endpoint, model, lease_until)
SELECT account_id, 'tb_' || lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0')
                         || substr(md5(number::text), 1, 20),
       key_id, {hold}, '/chat/completions', 'gpt-4o-mini', now() + interval '1 hour'
  FROM seeded_accounts ORDER BY account_id LIMIT $1
"""

PART: Final = """
-- A part of the ledger: a request for each number from {first} to {last}, of accounts in turn.
INSERT INTO {part} (id, account_id, kind, state, amount, balance_after, request_id, key_id, hold,
                    total, quantities, endpoint, model, started_at, actor)
OVERRIDING SYSTEM VALUE
SELECT n, account_id, 'charge', 'settled', -{charge}, {ample}, 'tb_' || lpad(to_hex(n), 32, '0'),
       account_id, {hold}, {charge}, jsonb_build_object('input', 9, 'output', 12),
       '/chat/completions', 'gpt-4o-mini', now(), 'proxy'
  FROM (SELECT n, 1 + n % {accounts} AS number FROM generate_series({first}, {last}) n) each
  JOIN numbered USING (number)
 ORDER BY n
"""


def written(statement: str, **more: object) -> str:
    """Write the figures above into a statement, and what else it leaves open."""
    return statement.format(ample=AMPLE, charge=CHARGE, hold=HOLD, **more)
