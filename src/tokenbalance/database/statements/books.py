"""The books as a whole: which they are, what an account has, and their upkeep."""

from typing import Final

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
 WHERE oid = ANY ('{users,accounts,api_keys,open_holds,ledger,waiters}'::regclass[])
   AND relpages < 32 AND pg_relation_size(oid) >= 32 * current_setting('block_size')::bigint
"""
