"""Objects of the upstream: found by their owner, recorded, deleted.

Every look-up has the account in it: an object of somebody else is not found, like one that nobody
has. Rows to be recorded come as JSON, a list for each caller, as `owners.rows` writes them.
"""

from typing import Final

FIND_OBJECTS: Final = """
-- $1 accounts, $2 ids, $3 kinds
SELECT item.number, o.kind, o.object_id, o.parent_id, o.state, o.tokens, o.bytes,
       CASE WHEN o.kind = 'response' THEN o.snapshot::json->>'model' END
  FROM (SELECT *
          FROM unnest($1::bigint[], $2::text[], $3::text[])
               WITH ORDINALITY AS item (account_id, object_id, kind, number)
         LIMIT (SELECT cardinality($1))) item
 CROSS JOIN LATERAL (
       SELECT *
         FROM objects
        WHERE object_id = item.object_id AND kind = item.kind AND upstream = 'openai'
          AND account_id + 0 = item.account_id AND deleted_at IS NULL) o
"""

RECORDING: Final = """
    INSERT INTO objects AS o
           (account_id, key_id, object_id, kind, parent_id, state, bytes, tokens, expires_at,
            snapshot, deleted_at)
    SELECT DISTINCT ON (object_id, kind)
           account_id, key_id, object_id, kind, parent_id, state, bytes, tokens,
           to_timestamp(expires_at), snapshot,
           (SELECT max(p.deleted_at)
              FROM objects p
             WHERE p.object_id = object.parent_id AND p.upstream = 'openai'
               AND p.account_id + 0 = item.account_id)
      FROM {items} AS item (account_id, key_id, objects, number),
           json_to_recordset(objects)
           AS object (object_id text, kind text, parent_id text, state text, bytes bigint,
                      tokens bigint, expires_at bigint, snapshot text)
     ORDER BY object_id, kind, number DESC
    ON CONFLICT (object_id, kind, upstream) DO UPDATE
       SET parent_id = coalesce(excluded.parent_id, o.parent_id),
           state = coalesce(excluded.state, o.state),
           bytes = coalesce(excluded.bytes, o.bytes),
           tokens = coalesce(excluded.tokens, o.tokens),
           expires_at = coalesce(excluded.expires_at, o.expires_at),
           snapshot = coalesce(excluded.snapshot, o.snapshot),
           deleted_at = {deleted_at}
     WHERE o.account_id = excluded.account_id"""
"""Inserts the rows of several callers, always in one order, so that no two of these statements wait
for each other. A row of another account is left as it is. Of rows with one key the last counts. A
part of what is deleted is deleted with it."""

RECORD_OBJECTS: Final = f"""
-- $1 accounts, $2 keys, $3 rows of each as JSON, $4 whether the upstream has just named them
-- Then one that was deleted is back.
{
    RECORDING.format(
        items="unnest($1::bigint[], $2::bigint[], $3::json[]) WITH ORDINALITY",
        deleted_at="CASE WHEN $4 THEN excluded.deleted_at ELSE o.deleted_at END",
    )
}
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

OCCUPY_OBJECT: Final = """
-- $1 account, $2 id, $3 kind, $4 who, $5 seconds
-- Nothing comes back while somebody else has it.
UPDATE objects
   SET busy_by = $4, busy_until = now() + $5 * interval '1 second'
 WHERE object_id = $2 AND kind = $3 AND upstream = 'openai' AND account_id + 0 = $1
   AND (busy_by = $4 OR busy_until IS NULL OR busy_until < now())
RETURNING object_id
"""

VACATE_OBJECT: Final = """
-- $1 account, $2 id, $3 kind, $4 who
UPDATE objects
   SET busy_by = NULL, busy_until = NULL
 WHERE object_id = $2 AND kind = $3 AND upstream = 'openai' AND account_id + 0 = $1
   AND busy_by = $4
"""

DELETE_EXPIRED_OBJECTS: Final = """
-- $1 how many at once
-- The upstream has deleted them by itself, and what was part of them. Of other kinds such a moment
-- is something else: the end of a job, or one that moves whenever the object is used. Skips what
-- another sweep is deleting.
WITH expired AS (
    SELECT ctid AS place, object_id, account_id, expires_at
      FROM objects
     WHERE expires_at < now() AND deleted_at IS NULL AND kind IN ('chat_audio', 'file', 'upload')
     ORDER BY expires_at
     LIMIT $1
       FOR UPDATE SKIP LOCKED
), part AS (
    SELECT p.place, expired.expires_at
      FROM expired
     CROSS JOIN LATERAL (
           SELECT ctid AS place
             FROM objects
            WHERE parent_id = expired.object_id AND account_id = expired.account_id
              AND deleted_at IS NULL
              FOR UPDATE SKIP LOCKED) p
)
UPDATE objects o
   SET deleted_at = gone.expires_at
  FROM (SELECT place, expires_at FROM expired UNION SELECT place, expires_at FROM part) gone
 WHERE o.ctid = gone.place
"""

FORGET_OBJECTS: Final = """
-- $1 how many at once
-- Responses that the upstream keeps no longer, and their items: 30 days after they were made. Those
-- of a conversation live as long as it does.
DELETE FROM objects
 WHERE ctid = ANY (ARRAY (
       SELECT o.ctid
         FROM objects o
        WHERE o.kind IN ('response', 'item', 'listed_item')
          AND o.created_at < now() - interval '31 days'
          AND NOT EXISTS (SELECT
                            FROM objects c
                           WHERE c.object_id = o.parent_id AND c.kind = 'conversation'
                             AND c.upstream = o.upstream AND c.deleted_at IS NULL)
        LIMIT $1
          FOR UPDATE SKIP LOCKED))
"""
