"""Holds that a crash of the database forgot, since their commit had not reached the disk."""

from typing import Final

from tokenbalance.database.statements.limits import TAKING

FORGOTTEN: Final = """
-- $1 accounts, $2 requests
-- The requests among these that these books know nothing of. Each is looked up: a join might read
-- whole tables.
SELECT item.request_id
  FROM (SELECT *
          FROM unnest($1::bigint[], $2::text[])
         LIMIT (SELECT cardinality($1))) item (account_id, request_id)
 WHERE (SELECT true
          FROM open_holds h
         WHERE h.request_id = item.request_id AND h.account_id = item.account_id) IS NULL
   AND (SELECT true
          FROM ledger e
         WHERE e.request_id = item.request_id AND e.account_id + 0 = item.account_id
           AND e.state IS NOT NULL) IS NULL
"""

LOCK_ACCOUNT: Final = """
-- $1 account
-- A statement of its own, so that the next one sees whatever was committed while this one waited.
SELECT FROM accounts WHERE id = $1 FOR NO KEY UPDATE
"""

RESTORE: Final = f"""
-- $1 account, $2 request, $3 key, $4 amount, $5 endpoint, $6 model, $7 known input,
-- $8 lease in seconds, $9 estimated output, $10 rates or null, $11 even if nothing is left,
-- $12 tokens, $13 limits that it took from, or null
-- Only while the account is locked. Places a hold again that was placed before, unless its request
-- has ended. Others may have got its credits meanwhile: it takes what is left of them. It takes
-- from its limits whatever they have left, unless their windows have ended.
WITH account AS (
    SELECT greatest(least($4, balance - held + overdraft), 0) AS amount
      FROM accounts
     WHERE id = $1
), taken AS (
    SELECT array_agg(id) AS limit_ids
      FROM (SELECT * FROM unnest($13::bigint[]) LIMIT (SELECT cardinality($13))) t (limit_id)
     CROSS JOIN LATERAL (
           SELECT id
             FROM limits
            WHERE account_id = $1 AND id = limit_id
              AND now() >= window_start AND now() < window_end
           OFFSET 0) l
), placed AS (
    INSERT INTO open_holds
           (account_id, request_id, key_id, amount, endpoint, model, known_input, lease_until,
            estimated_input, estimated_output, rates, tokens, limit_ids)
    SELECT $1, $2, $3, amount, $5, $6, $7, now() + make_interval(secs => $8), $7, $9, $10,
           CASE WHEN limit_ids IS NULL THEN 0 ELSE $12 END, limit_ids
      FROM account, taken
     WHERE (amount > 0 OR $11)
       AND NOT EXISTS (SELECT
                         FROM ledger
                        WHERE request_id = $2 AND account_id + 0 = $1 AND state IS NOT NULL)
    ON CONFLICT (request_id, account_id) DO NOTHING
    RETURNING account_id, amount, tokens, limit_ids
), {TAKING}
UPDATE accounts SET held = held + amount FROM placed WHERE id = $1 RETURNING amount
"""  # noqa: S608 - made of constants
