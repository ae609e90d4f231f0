"""Ends of holds that charge nothing: void, and the tombstone for a hold that may be placed late."""

from typing import Final

VOID: Final = """
-- $1 account, $2 request, $3..$10 a trace: upstream status, error code, upstream request id,
-- milliseconds to the first byte and in all, streamed, output cap, capped
WITH hold AS (
    UPDATE holds
       SET state = 'voided', ended_at = now(),
           upstream_status = $3, error_code = $4, upstream_request_id = $5, first_byte_ms = $6,
           total_ms = $7, streamed = $8, output_cap = $9, capped = $10
     WHERE account_id = $1 AND request_id = $2 AND state = 'open'
    RETURNING amount
)
UPDATE accounts SET held = held - hold.amount FROM hold WHERE id = $1
"""

LEAVE_TOMBSTONE: Final = """
-- $1 account, $2 request, $3 key, $4 endpoint
-- The tombstone: a hold row that is voided before it was ever placed, so that a late placement
-- conflicts with it and fails. If the placement is committing right now, this waits for it and
-- changes nothing; the VOID that follows then ends the hold.
INSERT INTO holds (account_id, request_id, key_id, amount, endpoint, state, ended_at)
VALUES ($1, $2, $3, 1, $4, 'voided', now())
ON CONFLICT (account_id, request_id) DO NOTHING
"""
