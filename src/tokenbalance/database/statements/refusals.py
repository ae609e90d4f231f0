"""Counts of refused requests."""

from typing import Final

COUNT_REFUSALS: Final = """
-- $1 accounts, $2 days, $3 keys, $4 codes, $5 counts, $6 last moments; sorted
-- Adds to what other processes have counted. It may wait for another of its kind, which goes
-- through the rows in the same order. The commit does not wait for the disk.
INSERT INTO refusals AS known (account_id, day, key_id, code, count, last_at)
SELECT item.*
  FROM unnest($1::bigint[], $2::date[], $3::bigint[], $4::text[], $5::bigint[],
              $6::timestamptz[]) item,
       (SELECT set_config('synchronous_commit', 'off', true)) relaxed
ON CONFLICT (account_id, day, key_id, code) DO UPDATE
   SET count = known.count + excluded.count,
       last_at = greatest(known.last_at, excluded.last_at)
"""
