"""Ends of holds that charge nothing: void, and the tombstone for a hold that may be placed late."""

from typing import Final

from tokenbalance.database.statements.limits import giving

VOID: Final = f"""
-- $1 account, $2 request, $3..$10 a trace: upstream status, error code, upstream request id,
-- milliseconds to the first byte and in all, streamed, output cap, capped
-- Its row in the ledger changes no balance. Limits get all back but the request itself, which was
-- made.
WITH hold AS (
    DELETE FROM open_holds
     WHERE request_id = $2 AND account_id = $1 AND amount > 0
    RETURNING *
), account AS (
    UPDATE accounts SET held = held - hold.amount FROM hold WHERE id = $1
    RETURNING hold.*
){giving(tokens="0", credits_="0")}
INSERT INTO ledger
       (account_id, kind, state, amount, request_id, key_id, hold, rates, endpoint, model,
        started_at, estimated_input, estimated_output, actor,
        upstream_status, error_code, upstream_request_id, first_byte_ms, total_ms, streamed,
        output_cap, capped)
SELECT $1, 'void', 'voided', 0, $2, key_id, amount, rates, endpoint, model,
       created_at, estimated_input, estimated_output, 'proxy',
       $3, $4, $5, $6, $7, $8, $9, $10
  FROM account
"""  # noqa: S608 - made of constants

LEAVE_TOMBSTONE: Final = """
-- $1 account, $2 request, $3 key, $4 endpoint, $5 credits that it held, or null
-- The tombstone: an open hold of nothing, so that a late placement conflicts with it and fails. If
-- the placement is committing right now, this waits for it and changes nothing; the VOID that
-- follows then ends the hold. If the hold is being ended right now, this waits as well, and leaves
-- a tombstone that does nothing. Only a request that is known to have been placed gets a row in the
-- ledger: its hold was forgotten. Tells whether account and key exist.
WITH known AS (
    SELECT EXISTS (SELECT FROM accounts WHERE id = $1)
           AND EXISTS (SELECT FROM api_keys WHERE id = $3) AS are_known
), tombstone AS (
    INSERT INTO open_holds (account_id, request_id, key_id, amount, endpoint, lease_until)
    SELECT $1, $2, $3, 0, $4, now() + interval '1 hour'
      FROM known
     WHERE are_known
       AND NOT EXISTS (SELECT
                         FROM ledger
                        WHERE request_id = $2 AND account_id + 0 = $1 AND state IS NOT NULL)
    ON CONFLICT (request_id, account_id) DO NOTHING
    RETURNING *
), entry AS (
    INSERT INTO ledger
           (account_id, kind, state, amount, request_id, key_id, hold, endpoint, started_at,
            estimated_input, estimated_output, actor)
    SELECT account_id, 'void', 'voided', 0, request_id, key_id, $5::bigint, endpoint, created_at,
           0, 0, 'proxy'
      FROM tombstone
     WHERE $5 IS NOT NULL
    ON CONFLICT (request_id, account_id) WHERE state IS NOT NULL DO NOTHING
)
SELECT are_known FROM known
"""

FORGET_TOMBSTONES: Final = """
-- Those whose placement cannot come any more. An hour is far more than a placement can be on its
-- way: its process has given it up after seconds, a pooler after minutes. One that has arrived may
-- wait for a lock for longer, so every statement that began within that hour must have ended.
-- Skips what another sweep is deleting.
DELETE FROM open_holds
 WHERE ctid = ANY (ARRAY (
       SELECT ctid
         FROM open_holds
        WHERE amount = 0
          AND lease_until < least(now(), (SELECT min(xact_start)
                                            FROM pg_stat_activity
                                           WHERE datname = current_database()
                                             AND state = 'active'))
          FOR UPDATE SKIP LOCKED))
"""
