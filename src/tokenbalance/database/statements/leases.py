"""Leases of open holds: renewed by heartbeats, and found when they have lapsed."""

from typing import Final

RENEW: Final = """
-- $1 accounts, $2 requests, $3 known inputs or nulls, $4 known outputs or nulls,
-- $5 lease in seconds
-- The heartbeat of one process, for all of its leases. Skips holds that are being ended right now:
-- they need no lease any more. The commit does not wait for the disk: if the database crashes and
-- loses it, the next heartbeat renews the lease before any sweep may end the hold.
WITH k AS (
    SELECT h.place, item.input, item.output
      FROM (SELECT *
              FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[])
             LIMIT (SELECT cardinality($1))) item (account_id, request_id, input, output)
     CROSS JOIN LATERAL (
           SELECT ctid AS place
             FROM open_holds
            WHERE request_id = item.request_id AND account_id = item.account_id AND amount > 0
              FOR NO KEY UPDATE SKIP LOCKED) h
)
UPDATE open_holds
   SET lease_until = now() + make_interval(secs => $5),
       known_input = coalesce(k.input, known_input),
       known_output = coalesce(k.output, known_output)
  FROM k, (SELECT set_config('synchronous_commit', 'off', true)) relaxed
 WHERE open_holds.ctid = k.place
"""

LAPSED: Final = """
-- $1 how many
-- Open holds whose lease has ended, except those that somebody is ending right now. Reads all open
-- holds: an index of leases would make every heartbeat write it.
SELECT account_id, request_id, amount, rates::text, known_input, known_output
  FROM open_holds
 WHERE amount > 0 AND lease_until < now()
 ORDER BY lease_until
 LIMIT $1
   FOR UPDATE SKIP LOCKED
"""

KNOWN: Final = """
-- $1 account, $2 request
-- A hold, open or ended; a tombstone is one of nothing, unless the request has ended. What a
-- process noted of its usage matters as long as it is open.
SELECT amount, rates, known_input, known_output
  FROM (SELECT amount, rates::text, known_input, known_output, amount = 0 AS is_tombstone
          FROM open_holds
         WHERE request_id = $2 AND account_id = $1
         UNION ALL
        SELECT hold, rates::text, 0, 0, false
          FROM ledger
         WHERE request_id = $2 AND account_id + 0 = $1 AND state IS NOT NULL) found
 ORDER BY is_tombstone
 LIMIT 1
"""
