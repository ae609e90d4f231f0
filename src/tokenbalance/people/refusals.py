"""Counts of refused requests: by account, key, code and day (UTC), for the caller and operators.

    on the request path    an addition in memory a refusal, for callers who are known
    every FLUSH_S          one statement for all that was counted since
    at the end             the same once more; a process that dies loses the last seconds

The memory is bounded: a caller can add a code, not an entry of its own making, and beyond
ENTRIES_MAX entries new ones wait for the next flush to make room, uncounted. It must never make a
request wait, nor keep anything of it but whose it was and why it was refused.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenbalance.database import statements
from tokenbalance.database.connections import UNAVAILABLE

if TYPE_CHECKING:
    from datetime import date

    from tokenbalance.database.connections import Pool
    from tokenbalance.errors import ProxyError
    from tokenbalance.model import Caller

logger = logging.getLogger(__name__)

COUNTED: Final = frozenset({402, 403, 413, 429})
"""Statuses of ours that are counted: not paid for, not allowed, too large, too many."""
FLUSH_S: Final = 5.0
ENTRIES_MAX: Final = 10_000

_Key: TypeAlias = "tuple[int, date, int, str]"
"""Account, day, key and code, in the order of the primary key."""
_Count: TypeAlias = "tuple[int, datetime]"


class RefusalCounts:
    """The refusals of one process that are not in the database yet."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool on which they are written."""
        self._pool = pool
        self._counts: dict[_Key, _Count] = {}
        self._uncounted = 0

    def __len__(self) -> int:
        return len(self._counts)

    def count(self, caller: Caller | None, error: ProxyError) -> None:
        """Count an error that a request ended with, if it is one of those that are counted.

        Args:
            caller: who gets it; None, which is not counted, if nobody knows.
            error: what the caller gets.

        """
        if caller is not None and error.status in COUNTED:
            now = datetime.now(UTC)
            self._add((caller.account_id, now.date(), caller.key_id, error.code), (1, now))

    async def run(self) -> None:
        """Write what was counted every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        """Write what was counted; while the database is unavailable, it is kept."""
        if self._uncounted:
            logger.warning(
                "%d refusals were not counted: too many callers were refused", self._uncounted
            )
            self._uncounted = 0
        counts, self._counts = self._counts, {}
        if not counts:
            return
        try:
            await self._write(counts)
        except UNAVAILABLE as error:
            logger.debug("refusals cannot be written: %s", type(error).__name__)
            self._put_back(counts)
        except asyncio.CancelledError:
            self._put_back(counts)
            raise
        except Exception:
            logger.exception("refusals cannot be written; their counts are lost")

    async def _write(self, counts: dict[_Key, _Count]) -> None:
        # In one order everywhere, so that two processes never wait for each other.
        rows = [(*key, *counts[key]) for key in sorted(counts)]
        _ = await self._pool.execute(statements.COUNT_REFUSALS, *zip(*rows, strict=True))

    def _put_back(self, counts: dict[_Key, _Count]) -> None:
        for key, count in counts.items():
            self._add(key, count)

    def _add(self, key: _Key, more: _Count) -> None:
        known = self._counts.get(key)
        if known is not None:
            self._counts[key] = (known[0] + more[0], max(known[1], more[1]))
        elif len(self._counts) < ENTRIES_MAX:
            self._counts[key] = more
        else:
            self._uncounted += more[0]
