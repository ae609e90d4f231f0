"""Turns the ledger into one of parts by range of ids, each a month; as the decision describes it.

Ids sort by time, and are in the primary key. Indexes that have the id, or are not unique, are the
whole ledger's; a unique one without the id can only be each part's own. Parts are filled before
they have indexes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from benchmarks.ledger_size.schema import LEDGER, PART, written

if TYPE_CHECKING:
    import asyncpg

_INDEXES: Final = """
-- $1 table
SELECT i.relname::text, pg_get_indexdef(i.oid), x.indisprimary, x.indisunique
  FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
 WHERE x.indrelid = $1::text::regclass
"""
_TRIGGERS: Final = """
-- $1 table
SELECT pg_get_triggerdef(oid) FROM pg_trigger
 WHERE tgrelid = $1::text::regclass AND NOT tgisinternal
"""


@dataclass(frozen=True, slots=True)
class Parts:
    """A ledger of parts."""

    connection: asyncpg.Connection
    rows: int
    """Of one part."""

    async def make_whole(self) -> None:
        """Replace the empty ledger by one that has no parts yet."""
        ledger, execute = LEDGER, self.connection.execute
        indexes = await self._indexes()
        triggers = await self.connection.fetch(_TRIGGERS, ledger)
        await execute(f"ALTER TABLE {ledger} RENAME TO {ledger}_before")
        await execute(
            f"CREATE TABLE {ledger} (LIKE {ledger}_before INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
            f" INCLUDING STORAGE INCLUDING IDENTITY) PARTITION BY RANGE (id)"
        )
        key = next(text for _, text, is_primary, _ in indexes if is_primary)
        await execute(f"ALTER TABLE {ledger} ADD PRIMARY KEY {key[key.rindex('(') :]}")
        for name, text, is_primary, is_unique in indexes:
            if not is_primary and not is_unique:
                await execute(text.replace(f" {name} ", f" {name}_of_all "))
        for (text,) in triggers:
            await execute(text)
        await execute(
            "CREATE TEMP TABLE numbered AS"
            " SELECT row_number() OVER (ORDER BY id) AS number, id AS account_id FROM accounts"
        )

    async def make(self, number: int, *, filled: bool) -> str:
        """Make a part that is not attached yet, with its indexes; returns its name."""
        ledger, execute = LEDGER, self.connection.execute
        part, (first, last) = f"{ledger}_month_{number}", self._range(number)
        await execute(
            f"CREATE TABLE {part} (LIKE {ledger} INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
            " INCLUDING STORAGE)"
        )
        if filled:
            accounts = await self.connection.fetchval("SELECT count(*) FROM numbered")
            await execute(written(PART, part=part, accounts=accounts, first=first, last=last))
        for name, text, is_primary, _ in await self._indexes(f"{ledger}_before"):
            if is_primary:
                key = text[text.rindex("(") :]
                await execute(f"ALTER TABLE {part} ADD PRIMARY KEY {key}")
            else:
                own = text.replace(f" {name} ", f" {name}_{number} ")
                await execute(own.replace(f"{ledger}_before", part))
        # With this, attaching it need not read it.
        await execute(f"ALTER TABLE {part} ADD CHECK (id >= {first} AND id <= {last})")
        await execute(f"ANALYZE {part}")
        return part

    async def attach(self, number: int) -> None:
        """Attach a part."""
        ledger, (first, last) = LEDGER, self._range(number)
        await self.connection.execute(
            f"ALTER TABLE {ledger} ATTACH PARTITION {ledger}_month_{number}"
            f" FOR VALUES FROM ({first}) TO ({last + 1})"
        )

    async def detach(self, number: int) -> None:
        """Detach a part."""
        ledger = LEDGER
        await self.connection.execute(
            f"ALTER TABLE {ledger} DETACH PARTITION {ledger}_month_{number} CONCURRENTLY"
        )

    async def go_on_after(self, number: int) -> None:
        """Let the next row be the first one of the part after this."""
        ledger = LEDGER
        _, last = self._range(number)
        await self.connection.execute(
            f"SELECT setval(pg_get_serial_sequence('{ledger}', 'id'), {last})"
        )

    def _range(self, number: int) -> tuple[int, int]:
        return (number - 1) * self.rows + 1, number * self.rows

    async def _indexes(self, table: str | None = None) -> list[tuple[str, str, bool, bool]]:
        rows = await self.connection.fetch(_INDEXES, table or LEDGER)
        return cast("list[tuple[str, str, bool, bool]]", [tuple(row) for row in rows])
