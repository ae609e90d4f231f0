"""The books as a whole, in three numbers, for whoever watches them.

One statement, asked at most every FRESH_S however often somebody looks, and never waited for longer
than PATIENCE_S: who watches has to hear of an outage, not to share it.
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
       (SELECT count(*) FROM holds WHERE state = 'open')
  FROM accounts
"""


@dataclass(frozen=True, slots=True)
class Totals:
    """What all accounts have together."""

    balance: int
    held: int
    open_holds: int


class BooksWatch:
    """Looks at the books, seldom."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: Totals | None = None
        self._fresh_until = 0.0
        self._looking: asyncio.Task[None] | None = None

    async def totals(self) -> Totals | None:
        """Read the totals, as they were a few seconds ago at most.

        Returns:
            None when the database does not say.

        """
        if self._looking is None and asyncio.get_running_loop().time() >= self._fresh_until:
            self._looking = asyncio.create_task(self._look())
        if self._looking is not None:
            # Not cancelled when it takes too long: the statement would have its connection closed.
            _ = await asyncio.wait({self._looking}, timeout=PATIENCE_S)
        return self._known if self._looking is None else None

    async def close(self) -> None:
        """Let go of a look that is under way."""
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
            logger.debug("the books cannot be looked at: %s", type(error).__name__)
            self._known = None
        except Exception:
            logger.exception("the books cannot be looked at")
            self._known = None
        finally:
            self._fresh_until = asyncio.get_running_loop().time() + FRESH_S
            self._looking = None
