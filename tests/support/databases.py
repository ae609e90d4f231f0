"""Databases that tests have for themselves, one after the other.

To copy the template and to drop the copy takes several times as long as to delete what a test has
written. So a database is given out again, as long as its test has left nothing but a few rows:
whoever is still connected is thrown out, rows are deleted, and sequences begin anew. One whose
tables, triggers or settings a test has touched is dropped.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg

from tests.support import postgres

if TYPE_CHECKING:
    from tokenbalance.postgres import EmbeddedPostgres

    Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

USED_MAX: Final = 50
"""Deleted rows stay in the files."""
BYTES_MAX: Final = 512 * 1024
"""Of all tables, beyond which a copy is cheaper."""
PATIENCE_S: Final = 20.0
_POLL_S: Final = 0.002

_CATALOGS: Final = {
    "pg_attrdef": "oid",
    "pg_attribute": "attrelid",
    "pg_class": "oid",
    "pg_constraint": "oid",
    "pg_depend": "objid",
    "pg_index": "indexrelid",
    "pg_proc": "oid",
    "pg_sequence": "seqrelid",
    "pg_trigger": "oid",
    "pg_type": "oid",
}
"""What says how tables are made, and by what its rows are known that are not Postgres' own."""
_OF_CATALOG: Final = """
    SELECT '{catalog}', count(*), max(xmin::text::bigint) FROM {catalog} WHERE {key} >= 16384
"""
_OF_SETTINGS: Final = """
    SELECT 'settings', count(setting.*), max(base.xmin::text::bigint)
      FROM pg_database AS base
      LEFT JOIN pg_db_role_setting AS setting ON setting.setdatabase = base.oid
     WHERE base.datname = current_database()
"""
# Whatever makes, changes or removes something gives a row there a new transaction, or removes it.
_SHAPE: Final = "UNION ALL".join(
    [
        *(_OF_CATALOG.format(catalog=catalog, key=key) for catalog, key in _CATALOGS.items()),
        _OF_SETTINGS,
    ]
)
_BYTES: Final = """
    SELECT sum((pg_stat_file(pg_relation_filepath(oid))).size)::bigint
      FROM pg_class
     WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""
_END_OTHERS: Final = """
    SELECT count(pg_terminate_backend(pid))
      FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
       AND backend_type = 'client backend'
"""


@dataclass
class _Database:
    dsn: str
    shape: list[asyncpg.Record]
    rows: dict[str, str]
    """Of the tables that have some from the beginning, as JSON."""
    used: int = 0


class Databases:
    """The databases of one run, all alike when they are given out."""

    def __init__(self, cluster: EmbeddedPostgres, template: str) -> None:
        self._cluster = cluster
        self._template = template
        self._free: list[_Database] = []
        self._given: dict[str, _Database] = {}

    async def take(self) -> str:
        """Give out a migrated database without any rows; its DSN."""
        database = self._free.pop() if self._free else await self._new()
        database.used += 1
        self._given[database.dsn] = database
        return database.dsn

    async def give_back(self, dsn: str) -> None:
        """Take a database back, whoever is still connected to it."""
        database = self._given.pop(dsn)
        if database.used < USED_MAX and await self._renew(database):
            self._free.append(database)
        else:
            await postgres.drop(self._cluster, dsn)

    async def _new(self) -> _Database:
        dsn = await postgres.clone(self._cluster, self._template)
        connection = await asyncpg.connect(dsn)
        try:
            shape = await connection.fetch(_SHAPE)
            return _Database(
                dsn, shape, {name: await _rows(connection, name) for name in postgres.KEPT}
            )
        finally:
            await connection.close()

    async def _renew(self, database: _Database) -> bool:
        """Make it as good as new; False if it cannot be."""
        try:
            connection = await asyncpg.connect(database.dsn)
        except asyncpg.PostgresError:  # It was dropped, or takes no connections.
            return False
        try:
            async with asyncio.timeout(PATIENCE_S):
                await _alone(connection)
            if await connection.fetch(_SHAPE) != database.shape:
                return False
            if await connection.fetchval(_BYTES) > BYTES_MAX:
                return False
            await connection.execute(postgres.EMPTY)
            for name, rows in database.rows.items():
                if await _rows(connection, name) != rows:
                    await _restore(connection, name, rows)
        except TimeoutError:
            return False
        finally:
            await connection.close()
        return True


async def _alone(connection: Connection) -> None:
    """End all other sessions, so that nothing is written any more."""
    while await connection.fetchval(_END_OTHERS):
        await asyncio.sleep(_POLL_S)


async def _rows(connection: Connection, table: str) -> str:
    rows = f"SELECT json_agg(t ORDER BY t::text)::text FROM {table} AS t"  # noqa: S608 - one of ours
    return str(await connection.fetchval(rows))


async def _restore(connection: Connection, table: str, rows: str) -> None:
    given = f"SELECT * FROM json_populate_recordset(null::{table}, $1)"  # noqa: S608 - one of ours
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(f"DELETE FROM {table}")  # noqa: S608 - one of ours
        await connection.execute(f"INSERT INTO {table} {given}", rows)
