"""One Postgres for a whole test run: a migrated template, copies of it, and how to empty one.

Real Postgres, the product's own supervisor; only its safety against power cuts is off.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import asyncpg

from tokenbalance.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_numbers = itertools.count(1)
KEPT = ("alembic_version", "books", "usage_summed")
"""What says which books these are, and how far they are summed up: products remember it."""
EMPTY = """
DO $$
DECLARE name text; ids record;
BEGIN
    SET LOCAL session_replication_role = replica; -- No trigger refuses it.
    -- Whoever writes is waited for. Rows are deleted with a tenth of what it takes to truncate.
    EXECUTE (
        SELECT 'LOCK TABLE ' || string_agg(quote_ident(relname), ', ') || ' IN EXCLUSIVE MODE'
          FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    );
    FOR name IN
        SELECT quote_ident(relname)
          FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
           AND relname NOT IN ('alembic_version', 'books', 'usage_summed')
           AND (pg_stat_file(pg_relation_filepath(oid))).size > 0
    LOOP
        EXECUTE 'DELETE FROM ' || name;
    END LOOP;
    FOR ids IN
        SELECT seqrelid, seqstart FROM pg_sequence
         WHERE pg_sequence_last_value(seqrelid) IS NOT NULL
    LOOP
        PERFORM setval(ids.seqrelid, ids.seqstart, false);
    END LOOP;
END $$
"""


def start_cluster(folder: Path) -> EmbeddedPostgres:
    """Start the run's server in a folder of its own. The caller stops it."""
    return EmbeddedPostgres.start_or_attach(folder / "postgres", exclusive=True, durable=False)


async def make_template(
    cluster: EmbeddedPostgres, migrate: Callable[[str], None], name: str = "template_migrated"
) -> str:
    """Create and migrate the database that `clone` copies; gives its name."""
    await _execute(cluster, f'CREATE DATABASE "{name}"')
    # In a thread: Alembic starts an event loop of its own.
    await asyncio.to_thread(migrate, cluster.dsn_of(name))
    # A test that connects to the template by mistake would block every clone.
    await _execute(cluster, f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
    return name


async def clone(cluster: EmbeddedPostgres, template: str) -> str:
    """Create a database like the template; gives its DSN."""
    name = f"test_{next(_numbers)}"
    # Files are copied with half of the CPU that it takes to write them to the log.
    statement = f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY'
    await _execute(cluster, statement)
    return cluster.dsn_of(name)


async def empty(dsn: str) -> None:
    """Make a database as good as new, under the products that are connected to it."""
    while True:
        try:
            await _execute_at(dsn, EMPTY)
        except asyncpg.DeadlockDetectedError:
            # A product that notes a key's use, or adds up, locks its tables in an order of its own.
            continue
        return


async def drop(cluster: EmbeddedPostgres, dsn: str) -> None:
    """Drop a cloned database, whoever is still connected to it."""
    name = dsn.partition("?")[0].rpartition("/")[2]
    await _execute(cluster, f'DROP DATABASE "{name}" WITH (FORCE)')


async def _execute(cluster: EmbeddedPostgres, statement: str) -> None:
    await _execute_at(cluster.dsn_of("postgres"), statement)


async def _execute_at(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        _ = await connection.execute(statement)
    finally:
        await connection.close()
