"""Objects of the upstream: found by their owner, recorded, deleted.

Every look-up has the account in it: an object of somebody else is not found, like one that nobody
has. Rows to be recorded come as JSON, a list for each caller, as `owners.rows` writes them.
"""

from typing import Final

FIND_OBJECTS: Final = """
-- $1 accounts, $2 ids, $3 kinds
SELECT item.number, o.kind, o.object_id, o.parent_id, o.state, o.tokens, o.bytes
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
            snapshot)
    SELECT DISTINCT ON (object_id, kind)
           account_id, key_id, object_id, kind, parent_id, state, bytes, tokens,
           to_timestamp(expires_at), snapshot
      FROM {items} AS item (account_id, key_id, objects, number),
           json_to_recordset(objects::json)
           AS object (object_id text, kind text, parent_id text, state text, bytes bigint,
                      tokens bigint, expires_at bigint, snapshot jsonb)
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
"""Inserts the rows of several callers, in one order, so that two of these never wait for each other.
A row of another account is left as it is. The last of several rows with one key counts."""

RECORD_OBJECTS: Final = f"""
-- $1 accounts, $2 keys, $3 rows of each as JSON, $4 whether the upstream has just named them as made
-- Then one that was deleted is back.
{
    RECORDING.format(
        items="unnest($1::bigint[], $2::bigint[], $3::text[]) WITH ORDINALITY",
        deleted_at="CASE WHEN $4 THEN NULL ELSE o.deleted_at END",
    )
}
"""  # noqa: S608 - made of constants

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
