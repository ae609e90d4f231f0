"""Storage: who is to be charged for it, and the charge."""

from typing import Final

from tokenbalance.database.tables.objects import STORED

_TODAY: Final = "'storage:' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
"""The idempotency key of a day's entry."""

STORING: Final = f"""
-- Accounts that store something, or did so lately, and have no entry of today.
SELECT account_id
  FROM (SELECT DISTINCT account_id
          FROM objects
         WHERE {STORED}
           AND (deleted_at IS NULL OR deleted_at > now() - interval '31 days')) stored
 WHERE (SELECT true
          FROM ledger e
         WHERE e.account_id = stored.account_id AND e.idempotency_key = {_TODAY}) IS NULL
"""  # noqa: S608 - made of constants

CHARGE_STORAGE: Final = f"""
-- $1 account, $2 credits for a gigabyte and a day, $3 the most credits of a charge, $4 since when
-- there is a price
-- What was stored since the last entry, each byte as long as it was. Once a day: the key of a
-- second entry conflicts. The first one is for a day at most, and none for more than 31, nor for a
-- time before the account or the price. What the balance does not cover is not taken, nor what open
-- holds reserve.
WITH account AS (
    SELECT id, balance, held, overdraft, created_at FROM accounts WHERE id = $1 FOR NO KEY UPDATE
), last AS (
    SELECT greatest(coalesce(max(created_at), now() - interval '1 day'),
                    now() - interval '31 days',
                    $4, (SELECT created_at FROM account)) AS moment
      FROM ledger
     WHERE account_id = $1 AND kind = 'storage' AND state IS NULL
), stored AS (
    SELECT moment, ceil(sum(bytes * extract(epoch FROM least(now(), deleted_at, expires_at)
                                            - greatest(created_at, moment)))
                        / 86400) AS byte_days
      FROM objects, last
     WHERE account_id = $1 AND {STORED}
       AND least(now(), deleted_at, expires_at) > greatest(created_at, moment)
     GROUP BY moment
), due AS (
    SELECT *, least(ceil(byte_days * $2::numeric / 1000000000), $3)::bigint AS credits
      FROM stored, account
), taken AS (
    SELECT *, least(credits, greatest(balance + overdraft - held, 0)) AS amount
      FROM due
     WHERE credits > 0
), entry AS (
    INSERT INTO ledger
           (account_id, kind, amount, asked, balance_after, quantities, rates, started_at, actor,
            note, idempotency_key)
    SELECT id, 'storage', -amount, CASE WHEN amount < credits THEN -credits END, balance - amount,
           jsonb_build_object('byte_day', byte_days),
           jsonb_build_object('gb_day', trim_scale($2)::text), moment, 'server',
           format('%s GB days since %s UTC, at %s credits each',
                  trim_scale(round(byte_days / 1000000000, 9)),
                  to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), trim_scale($2)),
           {_TODAY}
      FROM taken
    ON CONFLICT (account_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING amount
)
UPDATE accounts SET balance = balance + entry.amount FROM entry WHERE id = $1
RETURNING -entry.amount
"""  # noqa: S608 - made of constants
