"""Lists of an account's objects, page by page, and what the upstream says of them later.

A page begins and ends at places: the moment at which an object was recorded, and its id. Those
between two places are read from the index, in its order, whatever is added meanwhile.
"""

from typing import Final

PLACE_OF_OBJECT: Final = """
-- $1 account, $2 id, $3 kind
-- A deleted object keeps its place, so that who deletes what they have listed can go on from there.
SELECT created_at, object_id
  FROM objects
 WHERE object_id = $2 AND kind = $3 AND upstream = 'openai' AND account_id + 0 = $1
"""

_LIST: Final = """
-- $1 account, $2 kind, $3 and $4 the place that they are newer than, $5 and $6 the one that they
-- are older than, $7 members that they have, $8 the names of these, $9 whether an object counts of
-- which these are not known, $10 rows
SELECT o.object_id, o.created_at, o.state, o.expires_at <= now() AS has_ended, o.snapshot
  FROM objects o
 WHERE o.account_id = $1 AND o.kind = $2 AND o.kind <> 'item' AND o.deleted_at IS NULL
   AND o.upstream = 'openai'
   AND (o.created_at, o.object_id)
       > (coalesce($3::timestamptz, '-infinity'), coalesce($4::text, ''))
   AND (o.created_at, o.object_id)
       < (coalesce($5::timestamptz, 'infinity'), coalesce($6::text, ''))
   AND CASE WHEN $7::jsonb IS NULL THEN TRUE
            WHEN o.snapshot IS NULL THEN $9::boolean
            -- Postgres cannot read this character.
            WHEN strpos(o.snapshot, '\\u0000') > 0 THEN $9
            ELSE o.snapshot::jsonb @> $7 OR ($9 AND NOT o.snapshot::jsonb ?& $8::text[])
       END
"""
OLDEST_OBJECTS: Final = f"""{_LIST}
 ORDER BY o.created_at, o.object_id
 LIMIT $10
"""
NEWEST_OBJECTS: Final = f"""{_LIST}
 ORDER BY o.created_at DESC, o.object_id DESC
 LIMIT $10
"""

DESCRIBE_OBJECT: Final = """
-- $1 account, $2 id, $3 kind, $4 state, $5 bytes, $6 seconds of its end since 1970, $7 snapshot
-- Nothing becomes anybody's by it.
UPDATE objects
   SET state = $4, bytes = coalesce($5::bigint, bytes), expires_at = to_timestamp($6::bigint),
       snapshot = coalesce($7, snapshot)
 WHERE object_id = $2 AND kind = $3 AND upstream = 'openai' AND account_id + 0 = $1
   AND deleted_at IS NULL
   AND (state, bytes, expires_at, snapshot)
       IS DISTINCT FROM ($4, coalesce($5, bytes), to_timestamp($6), coalesce($7, snapshot))
"""
