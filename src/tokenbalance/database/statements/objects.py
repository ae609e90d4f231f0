"""Objects of the upstream: found by their owner, recorded, deleted.

Every look-up has the account in it: an object of somebody else is not found, like one that nobody
has.
"""

from typing import Final

FIND_OBJECTS: Final = """
-- $1 account, $2 ids, $3 kinds
SELECT o.kind, o.object_id, o.parent_id, o.state, o.tokens, o.bytes
  FROM unnest($2::text[], $3::text[]) AS item (object_id, kind)
 CROSS JOIN LATERAL (
       SELECT *
         FROM objects
        WHERE object_id = item.object_id AND kind = item.kind AND upstream = 'openai'
          AND account_id + 0 = $1 AND deleted_at IS NULL) o
"""

RECORD_OBJECTS: Final = """
-- $1 accounts, $2 keys, $3 ids, $4 kinds, $5 parents, $6 states, $7 bytes, $8 tokens, $9 seconds of
-- their ends since 1970, $10 snapshots
-- A row of another account is left as it is. One that was deleted is back if the upstream names it
-- again as made.
INSERT INTO objects AS o
       (account_id, key_id, object_id, kind, parent_id, state, bytes, tokens, expires_at, snapshot)
SELECT account_id, key_id, object_id, kind, parent_id, state, bytes, tokens,
       to_timestamp(expires_at), snapshot
  FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],
              $7::bigint[], $8::bigint[], $9::bigint[], $10::text[])
       AS item (account_id, key_id, object_id, kind, parent_id, state, bytes, tokens, expires_at,
                snapshot)
ON CONFLICT (object_id, kind, upstream) DO UPDATE
   SET parent_id = coalesce(excluded.parent_id, o.parent_id),
       state = coalesce(excluded.state, o.state),
       bytes = coalesce(excluded.bytes, o.bytes),
       tokens = coalesce(excluded.tokens, o.tokens),
       expires_at = coalesce(excluded.expires_at, o.expires_at),
       snapshot = coalesce(excluded.snapshot, o.snapshot),
       deleted_at = NULL
 WHERE o.account_id = excluded.account_id
"""

DELETE_OBJECT: Final = """
-- $1 account, $2 id, $3 kind
-- The object and its parts, once: a second call finds nothing.
UPDATE objects
   SET deleted_at = now()
 WHERE account_id = $1 AND upstream = 'openai' AND deleted_at IS NULL
   AND ((object_id = $2 AND kind = $3) OR parent_id = $2)
RETURNING object_id
"""

RESTORE_OBJECT: Final = """
-- $1 account, $2 id, $3 kind
-- The upstream has it still. What was deleted with it comes back with it.
WITH deleted AS (
    SELECT deleted_at AS moment
      FROM objects
     WHERE object_id = $2 AND kind = $3 AND upstream = 'openai' AND account_id + 0 = $1
)
UPDATE objects
   SET deleted_at = NULL
  FROM deleted
 WHERE account_id = $1 AND upstream = 'openai' AND deleted_at = moment
   AND ((object_id = $2 AND kind = $3) OR parent_id = $2)
"""
