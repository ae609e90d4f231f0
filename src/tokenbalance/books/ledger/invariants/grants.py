"""What must be true of grants: they remain what the balance is, and end once."""

from __future__ import annotations

from typing import Final

from tokenbalance.books.ledger.invariants.proof import Invariant, Proof

# One row for each account with grants of its own: all that was burnt, and what remains.
_PURSES: Final = """
  FROM accounts a
  JOIN (SELECT DISTINCT ON (account_id) account_id, up_to, balance_after
          FROM burns ORDER BY account_id, up_to DESC) last ON last.account_id = a.id
 CROSS JOIN LATERAL (
       SELECT coalesce(sum(amount), 0)::bigint AS later
         FROM ledger WHERE account_id = a.id AND id > last.up_to) ledger
 CROSS JOIN LATERAL (
       SELECT coalesce(sum(remaining), 0)::bigint AS remaining,
              min(expires_at) FILTER (WHERE remaining > 0 AND ended_at IS NULL) AS ends,
              coalesce(bool_or(remaining > 0 AND ended_at IS NOT NULL), false) AS lingers
         FROM grants WHERE account_id = a.id) g
 CROSS JOIN LATERAL (
       SELECT min(next_at) AS next_at FROM allowances WHERE account_id = a.id) allowance
"""
_DUE: Final = """(least(ends, allowance.next_at) IS DISTINCT FROM a.next_expiry AND NOT lingers
        OR lingers AND (a.next_expiry IS NULL OR a.next_expiry > least(ends, allowance.next_at)))"""


def _of_each_purse(broken: str, line: str) -> Invariant:
    return Invariant(
        f"coalesce(bool_or({broken}), false)",
        f"SELECT format({line}) {_PURSES} WHERE {broken} ORDER BY a.id",
    )


_THE_LAST_BURN_IS_OF_THE_LEDGER: Final = _of_each_purse(
    "last.balance_after + later <> a.balance",
    "'account %s: its grants are burnt up to entry %s and a balance of %s, the ledger makes %s',"
    " a.id, last.up_to, last.balance_after, a.balance - later",
)
_WHAT_REMAINS_IS_THE_BALANCE: Final = _of_each_purse(
    "remaining <> greatest(last.balance_after, 0)",
    "'account %s: %s remain of its grants, and the balance was %s', a.id, remaining,"
    " last.balance_after",
)
_WHAT_IS_DUE_IS_KNOWN: Final = _of_each_purse(
    _DUE,
    "'account %s: something is due at %s, its grants and allowances say %s', a.id,"
    " coalesce(a.next_expiry::text, 'no time'),"
    " coalesce(least(ends, allowance.next_at)::text, 'no time')",
)

_BURNT: Final = """
       (SELECT account_id, id, sum(amount)::bigint AS amount
          FROM burns, unnest(grants, amounts) parts (id, amount)
         GROUP BY account_id, id)
"""
_BROKEN_GRANTS: Final = f"""
  FROM grants g
  FULL JOIN {_BURNT} burnt ON burnt.account_id = g.account_id AND burnt.id = g.id
  LEFT JOIN ledger e ON e.account_id = g.account_id AND e.id = g.id
 WHERE g.amount IS NULL OR g.remaining + coalesce(burnt.amount, 0) <> g.amount
    OR g.allowance_id IS NOT NULL AND (e.kind IS DISTINCT FROM 'grant'
                                       OR e.amount <> g.amount - g.carried)
"""
_EACH_GRANT_WAS_BURNT_AS_IT_SAYS: Final = Invariant(
    f"EXISTS (SELECT {_BROKEN_GRANTS})",
    f"""
SELECT format('grant %s of account %s: %s of %s remain, %s were taken, and its entry is of %s',
              coalesce(g.id, burnt.id), coalesce(g.account_id, burnt.account_id), g.remaining,
              g.amount, coalesce(burnt.amount, 0), coalesce(e.amount::text, 'nothing'))
       {_BROKEN_GRANTS}
 ORDER BY coalesce(g.account_id, burnt.account_id), coalesce(g.id, burnt.id)
""",
)

# A grant has the id of its entry. Earlier entries of its account say nothing of grants.
_BROKEN_ENDS: Final = """
  FROM ledger e
  LEFT JOIN burns b ON b.account_id = e.account_id AND b.up_to = e.id
  LEFT JOIN grants g ON g.account_id = e.account_id AND g.id = b.grants[1]
 WHERE e.kind = 'expiry' AND e.state IS NULL
   AND e.id > (SELECT min(id) FROM grants WHERE account_id = e.account_id)
   AND (b.amounts IS DISTINCT FROM ARRAY[-e.amount] OR g.expires_at IS NULL
        OR g.expires_at > e.created_at)
"""
_EACH_END_IS_THAT_OF_A_GRANT: Final = Invariant(
    f"EXISTS (SELECT {_BROKEN_ENDS})",
    f"""
SELECT format('entry %s of account %s: %s credits ended, of no grant that had so many and ended',
              e.id, e.account_id, -e.amount)
       {_BROKEN_ENDS}
 ORDER BY e.id
""",
)

_TWICE: Final = """
  FROM grants
 WHERE allowance_id IS NOT NULL
 GROUP BY account_id, allowance_id, period_start
HAVING count(*) > 1
"""
_NOTHING_IS_ISSUED_TWICE: Final = Invariant(
    f"EXISTS (SELECT {_TWICE})",
    f"""
SELECT format('allowance %s of account %s: issued %s grants for the period of %s',
              allowance_id, account_id, count(*), period_start)
       {_TWICE}
 ORDER BY account_id, allowance_id
""",
)

GRANTS: Final = Proof(
    "",
    (),
    _PURSES,
    (
        _THE_LAST_BURN_IS_OF_THE_LEDGER,
        _WHAT_REMAINS_IS_THE_BALANCE,
        _WHAT_IS_DUE_IS_KNOWN,
        _EACH_GRANT_WAS_BURNT_AS_IT_SAYS,
        _EACH_END_IS_THAT_OF_A_GRANT,
        _NOTHING_IS_ISSUED_TWICE,
    ),
)
