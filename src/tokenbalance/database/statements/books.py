"""The books as a whole: which they are, what an account has, and their upkeep."""

from typing import Final

LITTERED: Final = """
-- Whether so many requests have ended since the last vacuum that their rows make open_holds large:
-- from then on each new hold is written to a page that is in no cache.
SELECT pg_stat_get_dead_tuples('open_holds'::regclass) >= 2000
"""

WHICH_BOOKS: Final = """
SELECT id FROM books
"""

FUNDS: Final = """
-- $1 account
SELECT balance, held, overdraft FROM accounts WHERE id = $1
"""

OUTGROWN: Final = """
-- Tables that were small at their last ANALYZE and no longer are. Plans made then, including those
-- of foreign key checks, read the whole table, and Postgres keeps them until the next ANALYZE.
SELECT oid::regclass::text
  FROM pg_class
 WHERE oid = ANY ('{users,accounts,api_keys,open_holds,ledger,waiters,objects,limits}'::regclass[])
   AND relpages < 32 AND pg_relation_size(oid) >= 32 * current_setting('block_size')::bigint
"""
