"""Grants of one account: reading what is needed to burn them, and writing what became of them.

All but DUE_ACCOUNTS are for the transaction that has locked the account.
"""

from typing import Final

DUE_ACCOUNTS: Final = """
-- $1 how many
SELECT id FROM accounts WHERE next_expiry <= now() ORDER BY next_expiry LIMIT $1
"""

LOCK_PURSE: Final = """
-- $1 account
SELECT balance, held, overdraft, time_zone, next_expiry FROM accounts WHERE id = $1
   FOR NO KEY UPDATE
"""

LOCK_DUE_PURSE: Final = """
-- $1 account
-- Skips an account that somebody else has locked: it is due still, or they enter it.
SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED
"""

LAST_BURN: Final = """
-- $1 account
-- The last range, and the time: of this statement, since the transaction may have waited.
SELECT entries_after, up_to, balance_before, balance_after, is_plain, grants, amounts,
       clock_timestamp()
  FROM burns
 WHERE account_id = $1
 ORDER BY up_to DESC
 LIMIT 1
"""

LAST_ENTRY: Final = """
-- $1 account
SELECT id
  FROM ledger
 WHERE account_id = $1 AND balance_after IS NOT NULL
 ORDER BY id DESC
 LIMIT 1
"""

GRANTS: Final = """
-- $1 account, $2 grants that are wanted even if nothing remains of them
SELECT id, amount, remaining, priority, expires_at, ended_at, allowance_id, period_start, carried,
       note
  FROM grants
 WHERE account_id = $1 AND (remaining > 0 OR id = ANY ($2::bigint[]))
"""

ENTRIES_AFTER: Final = """
-- $1 account, $2 entry
-- Entries after it that are no end of a request.
SELECT id, amount, balance_after, request_id, created_at
  FROM ledger
 WHERE account_id = $1 AND id > $2 AND state IS NULL AND balance_after IS NOT NULL
   AND kind IN ('grant', 'top-up', 'set', 'refund', 'adjustment', 'storage', 'expiry',
                'transfer')
"""

LATE_CHARGES: Final = """
-- $1 account, $2 entry, $3 time
-- Charges after it of requests that began at that time or later.
SELECT id, amount, balance_after, request_id, started_at
  FROM ledger
 WHERE account_id = $1 AND id > $2 AND state IS NOT NULL AND balance_after IS NOT NULL
   AND started_at >= $3
"""

ENTRIES_OF_REQUEST: Final = """
-- $1 account, $2 request
SELECT id, amount, balance_after, request_id, created_at
  FROM ledger
 WHERE request_id = $2 AND account_id + 0 = $1 AND state IS NOT NULL
   AND balance_after IS NOT NULL
 UNION ALL
SELECT id, amount, balance_after, request_id, created_at
  FROM ledger
 WHERE request_id = $2 AND account_id + 0 = $1 AND kind IN ('adjustment', 'refund')
   AND balance_after IS NOT NULL
"""

BURN_OF_ENTRY: Final = """
-- $1 account, $2 entry
-- The range that an entry lies in, if it has been burnt.
SELECT entries_after, up_to, balance_before, balance_after, is_plain, grants, amounts
  FROM burns
 WHERE account_id = $1 AND up_to >= $2
 ORDER BY up_to
 LIMIT 1
"""

HELD_BEFORE: Final = """
-- $1 account, $2 times
-- For each time what open holds reserve that were placed before it.
SELECT (SELECT coalesce(sum(amount), 0)::bigint
          FROM open_holds
         WHERE account_id = $1 AND created_at < moment)
  FROM unnest($2::timestamptz[]) WITH ORDINALITY ends (moment, number)
 ORDER BY number
"""

DUE_ALLOWANCES: Final = """
-- $1 account
SELECT id, amount, every, starts_at, ends_at, rollover_max, next_at, note
  FROM allowances
 WHERE account_id = $1 AND next_at IS NOT NULL
"""

MOVE_ALLOWANCE: Final = """
-- $1 account, $2 allowance, $3 when its next period begins, or null
UPDATE allowances SET next_at = $3 WHERE account_id = $1 AND id = $2
"""

ENTER_BY_ITSELF: Final = """
-- $1 account, $2 kind, $3 amount, $4 actor, $5 note
-- An entry that nobody makes.
WITH account AS (
    UPDATE accounts SET balance = balance + $3 WHERE id = $1 RETURNING balance
)
INSERT INTO ledger (account_id, kind, amount, balance_after, actor, note, created_at)
SELECT $1, $2, $3, balance, $4, $5, clock_timestamp() FROM account
RETURNING id
"""

SAVE_GRANTS: Final = """
-- $1 account, $2 ids, $3 amounts, $4 remaining, $5 priorities, $6 ends, $7 when they were entered,
-- $8 allowances, $9 starts of periods, $10 carried over, $11 notes
INSERT INTO grants
       (account_id, id, amount, remaining, priority, expires_at, ended_at, allowance_id,
        period_start, carried, note)
SELECT $1, *
  FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::timestamptz[],
              $7::timestamptz[], $8::bigint[], $9::timestamptz[], $10::bigint[], $11::text[])
ON CONFLICT (account_id, id)
DO UPDATE SET remaining = excluded.remaining, ended_at = excluded.ended_at
"""

SAVE_BURN: Final = """
-- $1 account, $2 after which entry, $3 up to which entry, $4 balance before, $5 balance after,
-- $6 whether it is plain, $7 grants, $8 amounts
INSERT INTO burns
       (account_id, entries_after, up_to, balance_before, balance_after, is_plain, grants, amounts)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""

FORGET_BURN: Final = """
-- $1 account, $2 up to which entry
-- The last range, before it is written again with more entries.
DELETE FROM burns WHERE account_id = $1 AND up_to = $2
"""

SET_NEXT_EXPIRY: Final = """
-- $1 account, $2 when something is due, or null
UPDATE accounts SET next_expiry = $2 WHERE id = $1 AND next_expiry IS DISTINCT FROM $2
"""
