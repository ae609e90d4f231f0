"""The books as a whole, in three numbers, for monitoring.

One query, at most every FRESH_S however often the totals are read, and awaited no longer than
PATIENCE_S: monitoring must report an outage, not hang in it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.database.connections import UNAVAILABLE

if TYPE_CHECKING:
    from decimal import Decimal

    from tokenbalance.database.connections import Pool

logger = logging.getLogger(__name__)

FRESH_S: Final = 5.0
PATIENCE_S: Final = 1.0

_TOTALS: Final = """
SELECT coalesce(sum(balance), 0), coalesce(sum(held), 0),
       (SELECT count(*) FROM open_holds WHERE amount > 0)
  FROM accounts
"""


@dataclass(frozen=True, slots=True)
class Totals:
    """What all accounts have together."""

    balance: int
    held: int
    open_holds: int


class BooksWatch:
    """Queries the books, rarely."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: Totals | None = None
        self._fresh_until = 0.0
        self._looking: asyncio.Task[None] | None = None

    async def totals(self) -> Totals | None:
        """The totals, at most a few seconds old.

        Returns:
            None while the database does not respond.

        """
        if self._looking is None and asyncio.get_running_loop().time() >= self._fresh_until:
            self._looking = asyncio.create_task(self._look())
        if self._looking is not None:
            # Not cancelled when it takes too long: that would close the connection.
            _ = await asyncio.wait({self._looking}, timeout=PATIENCE_S)
        return self._known if self._looking is None else None

    async def close(self) -> None:
        """Cancel a query that is running."""
        if self._looking is not None:
            _ = self._looking.cancel()
            _ = await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self) -> None:
        try:
            row = await self._pool.fetchrow(_TOTALS)
            if row is not None:
                balance, held, open_holds = cast("tuple[Decimal, Decimal, int]", tuple(row))
                self._known = Totals(int(balance), int(held), open_holds)
        except UNAVAILABLE as error:
            logger.debug("the totals of the books cannot be read: %s", type(error).__name__)
            self._known = None
        except Exception:
            logger.exception("the totals of the books cannot be read")
            self._known = None
        finally:
            self._fresh_until = asyncio.get_running_loop().time() + FRESH_S
            self._looking = None
