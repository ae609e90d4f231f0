"""Watches the locks on some tables: which were stronger than requests get along with, how long."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

EVERY_S: Final = 0.002
# What requests need on the ledger is ROW EXCLUSIVE; these conflict with it.
_LOCKS: Final = """
-- $1 tables
SELECT relation::regclass::text, mode, granted, pid
  FROM pg_locks
 WHERE locktype = 'relation' AND relation = ANY ($1::oid[])
   AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""
_Lock: TypeAlias = tuple[str, str, bool, int]


@dataclass(slots=True)
class Watch:
    """What has been seen."""

    connection: asyncpg.Connection
    tables: Sequence[int]
    """Their oids."""
    _since: dict[_Lock, float] = field(default_factory=dict)
    _longest_ms: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def longest_ms(self) -> Mapping[tuple[str, str], float]:
        """By table and mode: the longest that one was held or waited for, to `EVERY_S`."""
        return self._longest_ms

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            rows = await self.connection.fetch(_LOCKS, self.tables)
            self._note([cast("_Lock", tuple(row)) for row in rows], time.perf_counter())
            await asyncio.sleep(EVERY_S)

    def _note(self, locks: list[_Lock], now: float) -> None:
        for gone in self._since.keys() - set(locks):
            del self._since[gone]
        for lock in locks:
            began = self._since.setdefault(lock, now - EVERY_S)
            key = (lock[0], lock[1] if lock[2] else f"{lock[1]}, waiting")
            self._longest_ms[key] = max(self._longest_ms.get(key, 0), (now - began) * 1000)
