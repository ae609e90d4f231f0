"""The proof that the books are right: every invariant that the tables can show, in one snapshot.

Reads only, in one transaction, so that it tells the truth while requests run. Each check is one
statement over whole tables, which returns one line of text for each thing that is broken, with its
ids. What constraints guarantee already is checked too: a restored backup may have lost them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import asyncpg

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    from tokenbalance.database.connections import Pool

    Connection: TypeAlias = (
        "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
    )

VIOLATIONS_MAX: Final = 1000
"""Lines of each check; more would tell nobody more."""
_TIMEOUT_S: Final = 600.0

_COUNTS: Final = """
SELECT (SELECT count(*) FROM accounts),
       (SELECT count(*) FROM ledger_entries),
       (SELECT count(*) FROM holds WHERE state = 'open')
"""

_BALANCE_IS_THE_SUM_OF_THE_ENTRIES: Final = """
SELECT format('account %s: balance is %s, its entries add up to %s', a.id, a.balance, e.total)
  FROM accounts a
  LEFT JOIN (SELECT account_id, sum(amount) AS sum FROM ledger_entries GROUP BY account_id) s
    ON s.account_id = a.id
 CROSS JOIN LATERAL (SELECT coalesce(s.sum, 0) AS total) e
 WHERE a.balance <> e.total
 ORDER BY a.id
"""

_HELD_IS_THE_SUM_OF_THE_OPEN_HOLDS: Final = """
SELECT format('account %s: held is %s, its open holds add up to %s', a.id, a.held, h.total)
  FROM accounts a
  LEFT JOIN (SELECT account_id, sum(amount) AS sum
               FROM holds WHERE state = 'open' GROUP BY account_id) s
    ON s.account_id = a.id
 CROSS JOIN LATERAL (SELECT coalesce(s.sum, 0) AS total) h
 WHERE a.held <> h.total OR a.held < 0
 ORDER BY a.id
"""

_EACH_ENTRY_FOLLOWS_FROM_THE_ONE_BEFORE: Final = """
SELECT format('entry %s of account %s: balance_after is %s, %s before it and its amount make %s',
              id, account_id, balance_after, before, before + amount)
  FROM (SELECT id, account_id, amount, balance_after,
               coalesce(lag(balance_after) OVER (PARTITION BY account_id ORDER BY id), 0) AS before
          FROM ledger_entries) chain
 WHERE balance_after <> before + amount
 ORDER BY id
"""

_EACH_CHARGE_HAS_ITS_HOLD: Final = """
SELECT format('entry %s of account %s: charges request %s, which has no hold',
              e.id, e.account_id, e.request_id)
  FROM ledger_entries e
  LEFT JOIN holds h ON h.account_id = e.account_id AND h.request_id = e.request_id
 WHERE e.kind = 'charge' AND h.request_id IS NULL
 ORDER BY e.id
"""

_ONE_HOLD_FOR_EACH_REQUEST: Final = """
SELECT format('request %s: has %s holds, of accounts %s',
              request_id, count(*), string_agg(account_id::text, ', ' ORDER BY account_id))
  FROM holds
 GROUP BY request_id
HAVING count(*) > 1
 ORDER BY request_id
"""

# Settled: one charge and one record of usage. Expired: both or neither. Otherwise: neither.
_EACH_HOLD_ENDS_ONCE: Final = """
SELECT format('hold %s of account %s: is %s, with %s charges and %s records of usage',
              h.request_id, h.account_id, h.state, n.charges, n.usages)
  FROM holds h
  LEFT JOIN (SELECT account_id, request_id, count(*) AS charges
               FROM ledger_entries WHERE kind = 'charge' GROUP BY account_id, request_id) c
    ON c.account_id = h.account_id AND c.request_id = h.request_id
  LEFT JOIN usage u ON u.account_id = h.account_id AND u.request_id = h.request_id
 CROSS JOIN LATERAL (SELECT coalesce(c.charges, 0) AS charges,
                            (u.request_id IS NOT NULL)::int AS usages) n
 WHERE n.charges <> n.usages
    OR n.charges <> CASE h.state WHEN 'settled' THEN 1
                                 WHEN 'expired' THEN n.usages
                                 ELSE 0 END
 ORDER BY h.account_id, h.request_id
"""

# One credit is one token (`rates.py`), so a charge is the total that was used.
_EACH_CHARGE_IS_WHAT_WAS_USED: Final = """
SELECT format('request %s of account %s: took %s credits, its usage says charge %s, total %s,'
              ' overrun %s of a hold of %s',
              u.request_id, u.account_id, -e.amount, u.charge, u.total, u.overrun, h.amount)
  FROM usage u
  JOIN ledger_entries e
    ON e.account_id = u.account_id AND e.request_id = u.request_id AND e.kind = 'charge'
  JOIN holds h ON h.account_id = u.account_id AND h.request_id = u.request_id
 WHERE u.charge <> -e.amount
    OR u.charge <> u.total
    OR u.overrun <> greatest(u.charge - h.amount, 0)
 ORDER BY u.account_id, u.request_id
"""

# Two things may take a balance lower, and both are on record: usage beyond a hold, and charges of
# requests that were running when somebody lowered the balance below what they held.
_NO_BALANCE_IS_BELOW_ITS_OVERDRAFT: Final = """
WITH low AS (
    SELECT id, balance, overdraft FROM accounts WHERE balance < -overdraft
), overruns AS (
    SELECT account_id, sum(overrun) AS credits
      FROM usage WHERE overrun > 0 GROUP BY account_id
), undercut AS (
    SELECT e.account_id, -sum(e.amount) AS credits
      FROM low
      JOIN ledger_entries e ON e.account_id = low.id AND e.kind = 'charge'
      JOIN holds h ON h.account_id = e.account_id AND h.request_id = e.request_id
     WHERE EXISTS (SELECT FROM ledger_entries lowering
                    WHERE lowering.account_id = e.account_id
                      AND lowering.kind IN ('set', 'adjustment')
                      AND lowering.amount < 0
                      AND lowering.id < e.id
                      AND lowering.created_at >= h.created_at)
     GROUP BY e.account_id
)
SELECT format('account %s: balance is %s, the lowest allowed is %s',
              low.id, low.balance, lowest.balance)
  FROM low
  LEFT JOIN overruns ON overruns.account_id = low.id
  LEFT JOIN undercut ON undercut.account_id = low.id
 CROSS JOIN LATERAL (SELECT -low.overdraft - coalesce(overruns.credits, 0)
                            - coalesce(undercut.credits, 0) AS balance) lowest
 WHERE low.balance < lowest.balance
 ORDER BY low.id
"""

_CHECKS: Final = (
    _BALANCE_IS_THE_SUM_OF_THE_ENTRIES,
    _HELD_IS_THE_SUM_OF_THE_OPEN_HOLDS,
    _EACH_ENTRY_FOLLOWS_FROM_THE_ONE_BEFORE,
    _EACH_CHARGE_HAS_ITS_HOLD,
    _ONE_HOLD_FOR_EACH_REQUEST,
    _EACH_HOLD_ENDS_ONCE,
    _EACH_CHARGE_IS_WHAT_WAS_USED,
    _NO_BALANCE_IS_BELOW_ITS_OVERDRAFT,
)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was checked and what is broken, at one moment."""

    ok: bool
    accounts: int
    entries: int
    open_holds: int
    violations: list[str]
    """One line each, with ids; at most `VIOLATIONS_MAX` of each check."""


async def audit(database: Pool | Connection) -> AuditReport:
    """Check the books in one read-only snapshot; requests go on meanwhile."""
    if isinstance(database, asyncpg.Pool):
        async with database.acquire() as connection:
            return await _audit(connection)
    return await _audit(database)


async def _audit(connection: Connection) -> AuditReport:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        counts = (await connection.fetch(_COUNTS, timeout=_TIMEOUT_S))[0]
        violations: list[str] = []
        for check in _CHECKS:
            rows = await connection.fetch(f"{check} LIMIT {VIOLATIONS_MAX}", timeout=_TIMEOUT_S)
            violations += [row[0] for row in rows]
    accounts, entries, open_holds = cast("tuple[int, int, int]", tuple(counts))
    return AuditReport(not violations, accounts, entries, open_holds, violations)
