"""What must be true of transfers: what leaves one account arrives in another."""

from __future__ import annotations

from typing import Final

from tokenbalance.books.ledger.invariants.proof import Invariant

# Both parts read only what an index of transfers has.
_TRANSFERS: Final = """
  FROM (SELECT transfer_id, id, account_id, amount, kind FROM ledger WHERE transfer_id IS NOT NULL
         UNION ALL
        SELECT transfer_id, id, account_id, amount, kind
          FROM ledger
         WHERE kind = 'transfer' AND state IS NULL AND transfer_id IS NULL) entries
 GROUP BY transfer_id
HAVING transfer_id IS NULL OR count(*) <> 2 OR count(DISTINCT account_id) <> 2
    OR sum(amount) <> 0 OR bool_or(amount = 0 OR kind <> 'transfer')
"""
WHAT_LEAVES_AN_ACCOUNT_ARRIVES_IN_ANOTHER: Final = Invariant(
    f"EXISTS (SELECT {_TRANSFERS})",
    f"""
SELECT format('transfer %s: its entries are %s', coalesce(transfer_id::text, 'without an id'),
              string_agg(format('%s, a %s of %s credits of account %s', id, kind, amount,
                                account_id), '; ' ORDER BY id))
       {_TRANSFERS}
 ORDER BY min(id)
""",
)
