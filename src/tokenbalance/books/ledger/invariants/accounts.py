"""What must be true of each account: its balance, its entries, its open holds, and its limits."""

from __future__ import annotations

from typing import Final

from tokenbalance.books.ledger.invariants.limits import LIMITS
from tokenbalance.books.ledger.invariants.proof import Invariant, Proof
from tokenbalance.books.ledger.invariants.transfers import (
    WHAT_LEAVES_AN_ACCOUNT_ARRIVES_IN_ANOTHER,
)
from tokenbalance.database.connections import SWEEP_NAME

# Rows without `balance_after` change no balance and are no entries.
# OFFSET 0 makes Postgres read the entries sequentially and sort them. Fetching them one by one in
# the order of an index takes three times as long.
_CHAIN: Final = """
       (SELECT id, account_id, amount, balance_after,
               coalesce(lag(balance_after) OVER (PARTITION BY account_id ORDER BY id), 0) AS before
          FROM (SELECT id, account_id, amount, balance_after
                  FROM ledger WHERE balance_after IS NOT NULL OFFSET 0) entries) chain
"""
_ACCOUNTS: Final = f"""
  FROM accounts a
  FULL JOIN (SELECT account_id, count(*) AS number, sum(amount) AS total,
                    bool_or(balance_after - amount <> before) AS is_broken
               FROM {_CHAIN} GROUP BY account_id) e
    ON e.account_id = a.id
  FULL JOIN (SELECT account_id, count(*) AS number, sum(amount) AS total
               FROM open_holds WHERE amount > 0 GROUP BY account_id) h
    ON h.account_id = coalesce(a.id, e.account_id)
"""  # noqa: S608 - made of constants


def _of_each_account(broken: str, line: str) -> Invariant:
    """Build an invariant of each account."""
    return Invariant(
        f"coalesce(bool_or({broken}), false)",
        f"SELECT format({line}) {_ACCOUNTS} WHERE {broken} ORDER BY coalesce(a.id, e.account_id)",
    )


_EACH_ACCOUNT_IS_THERE: Final = _of_each_account(
    "a.id IS NULL",
    "'account %s: does not exist, but has %s entries and %s open holds',"
    " coalesce(e.account_id, h.account_id), coalesce(e.number, 0), coalesce(h.number, 0)",
)
# The table's constraint says the same; a restored backup may have lost it.
_EACH_ACCOUNT_IS_A_USERS_OR_A_TEAMS: Final = _of_each_account(
    "CASE a.kind WHEN 'personal' THEN a.user_id IS NULL WHEN 'team' THEN a.user_id IS NOT NULL"
    " ELSE a.id IS NOT NULL END",
    "'account %s: is %s, and its user is %s', a.id,"
    " CASE a.kind WHEN 'team' THEN 'that of a team' ELSE a.kind END,"
    " coalesce(a.user_id::text, 'nobody')",
)
_BALANCE_IS_THE_SUM_OF_THE_ENTRIES: Final = _of_each_account(
    "a.balance <> coalesce(e.total, 0)",
    "'account %s: balance is %s, its entries add up to %s', a.id, a.balance, coalesce(e.total, 0)",
)
_HELD_IS_THE_SUM_OF_THE_OPEN_HOLDS: Final = _of_each_account(
    "(a.held <> coalesce(h.total, 0) OR a.held < 0)",
    "'account %s: held is %s, its open holds add up to %s', a.id, a.held, coalesce(h.total, 0)",
)
_EACH_ENTRY_FOLLOWS_FROM_THE_ONE_BEFORE: Final = Invariant(
    "coalesce(bool_or(e.is_broken), false)",
    f"""
SELECT format('entry %s of account %s: balance_after is %s, %s before it and its amount make %s',
              id, account_id, balance_after, before, before + amount)
  FROM {_CHAIN}
 WHERE balance_after - amount <> before
 ORDER BY id
""",  # noqa: S608 - made of constants
)

# What is held is covered by balance and overdraft, so no balance can fall below the overdraft, with
# three exceptions, each of them on record: usage beyond a hold, usage that was found after its hold
# had expired, and prices that were raised later. A correction may be an overrun at the same time, a
# rerate never is. What a falling price gives back may be spent before it rises again.
# Earlier versions let people take what requests in flight held. Those requests are excused, if the
# entry that lowered the balance is not later than the last one of such a version.
_WHAT_IS_HELD_IS_COVERED: Final = Invariant(
    "coalesce(bool_or(a.balance - a.held < -a.overdraft), false)",
    """
WITH low AS (
    SELECT id, balance, held, overdraft FROM accounts WHERE balance - held < -overdraft
), late AS (
    SELECT account_id, sum(greatest(corrected, overrun) + raised) AS credits
      FROM (SELECT e.account_id, e.request_id, sum(e.overrun) AS overrun,
                   coalesce(-sum(e.amount) FILTER (WHERE e.kind = 'adjustment'
                                                     AND e.rates IS NULL), 0) AS corrected,
                   coalesce(sum(greatest(-e.amount, 0)) FILTER (WHERE e.kind = 'adjustment'
                                                     AND e.rates IS NOT NULL), 0) AS raised
              FROM low
              JOIN ledger e ON e.account_id = low.id
               AND e.kind IN ('charge', 'adjustment') AND e.request_id IS NOT NULL
             GROUP BY e.account_id, e.request_id) requests
     WHERE corrected > 0 OR overrun > 0 OR raised > 0
     GROUP BY account_id
), lowering AS (
    SELECT e.account_id, e.id, e.created_at
      FROM low
      JOIN ledger e ON e.account_id = low.id
       AND e.kind IN ('set', 'adjustment') AND e.request_id IS NULL AND e.amount < 0
       AND e.id <= (SELECT holds_covered_after FROM books)
), undercut AS (
    SELECT h.account_id, sum(h.credits) AS credits
      FROM (SELECT account_id, amount AS credits, created_at, NULL::bigint AS ended_by
              FROM open_holds
             UNION ALL
            SELECT account_id, -amount, started_at, id FROM ledger WHERE kind = 'charge') h
     WHERE EXISTS (SELECT
                     FROM lowering
                    WHERE lowering.account_id = h.account_id
                      AND (h.ended_by IS NULL OR lowering.id < h.ended_by)
                      AND lowering.created_at >= h.created_at)
     GROUP BY h.account_id
)
SELECT format('account %s: balance is %s, held is %s, the lowest balance allowed is %s',
              low.id, low.balance, low.held, lowest.balance)
  FROM low
  LEFT JOIN late ON late.account_id = low.id
  LEFT JOIN undercut ON undercut.account_id = low.id
 CROSS JOIN LATERAL (SELECT low.held - low.overdraft - coalesce(late.credits, 0)
                            - coalesce(undercut.credits, 0) AS balance) lowest
 WHERE low.balance < lowest.balance
 ORDER BY low.id
""",
)

# 60 s: half a minute for a sweep to run, half a minute for it to be late. If no sweep has been
# connected for that long, for example because the product is stopped, a lapsed lease is not a
# violation. A database user who may not see the connections of the sweeps finds no violation.
_SWEPT: Final = f"""
       EXISTS (SELECT FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = '{SWEEP_NAME}'
                  AND backend_start < now() - interval '60 s')
"""
_LAPSED: Final = "FROM open_holds WHERE amount > 0 AND lease_until < now() - interval '60 s'"
_NO_OPEN_HOLD_OUTLIVES_ITS_LEASE: Final = Invariant(
    f"(EXISTS (SELECT {_LAPSED}) AND {_SWEPT})",
    f"""
SELECT format('hold %s of account %s: is open, but its lease ended at %s',
              request_id, account_id, date_trunc('second', lease_until))
       {_LAPSED}
 ORDER BY account_id, request_id
""",
)

LEDGER: Final = Proof(
    "",
    ("count(a.id)", "coalesce(sum(e.number), 0)::bigint", "coalesce(sum(h.number), 0)::bigint"),
    _ACCOUNTS,
    (
        _EACH_ACCOUNT_IS_THERE,
        _EACH_ACCOUNT_IS_A_USERS_OR_A_TEAMS,
        _BALANCE_IS_THE_SUM_OF_THE_ENTRIES,
        _HELD_IS_THE_SUM_OF_THE_OPEN_HOLDS,
        _EACH_ENTRY_FOLLOWS_FROM_THE_ONE_BEFORE,
        _WHAT_IS_HELD_IS_COVERED,
        _NO_OPEN_HOLD_OUTLIVES_ITS_LEASE,
        WHAT_LEAVES_AN_ACCOUNT_ARRIVES_IN_ANOTHER,
        *LIMITS,
    ),
)
