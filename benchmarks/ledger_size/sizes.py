"""The size of tables and indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

_SIZES: Final = """
-- $1 tables
SELECT c.relname::text, pg_table_size(c.oid)
  FROM pg_class c WHERE c.oid = ANY ($1::text[]::regclass[])
 UNION ALL
SELECT i.indexrelid::regclass::text, pg_relation_size(i.indexrelid)
  FROM pg_index i WHERE i.indrelid = ANY ($1::text[]::regclass[])
"""


async def read_sizes(connection: asyncpg.Connection, tables: Sequence[str]) -> Mapping[str, int]:
    """Return the bytes of each of the tables, and of each of their indexes."""
    rows = await connection.fetch(_SIZES, list(tables))
    return dict(cast("list[tuple[str, int]]", [tuple(row) for row in rows]))
