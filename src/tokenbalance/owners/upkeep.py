"""The upkeep of the table of objects.

    overdue    noted by this process a while ago and not committed since: recorded
    adopted    noted by a process that is dead: recorded
    expired    past its end, with its parts: deleted
    forgotten  items and responses that the upstream keeps no longer: their rows are removed

Any number of replicas may do this at the same time; each row is changed once. It must never bring
an object back that was deleted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.database import statements
from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.owners.adoption import Adoption
from tokenbalance.owners.registry import record_written

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from tokenbalance.database.connections import Pool
    from tokenbalance.owners.adoption import Left
    from tokenbalance.owners.journal import ObjectJournal
    from tokenbalance.owners.lines import Written

logger = logging.getLogger(__name__)

OVERDUE_S: Final = 10.0
"""What has waited for its charge for so long is recorded without it."""
_LINES_AT_ONCE: Final = 200
_ROWS_AT_ONCE: Final = 1000
_RETRY_S: Final = 1.0
_DEADLINE_S: Final = 30.0
"""Of a statement that goes through many rows."""
_FORGET_S: Final = 3600.0


class Upkeep:
    """Records what was only noted, and removes what is over."""

    def __init__(
        self, pool: Pool, journal: ObjectJournal, period_s: float, *, overdue_s: float = OVERDUE_S
    ) -> None:
        self._pool = pool
        self._journal = journal
        self._period_s = period_s
        self._overdue_s = overdue_s
        self._adoption = Adoption()
        self._forget_at = 0.0

    async def open_journal(self) -> None:
        """Open the journal of these books, unless it is open; raises what asyncpg raises."""
        if self._journal.folder is None:
            books = cast("UUID", await self._pool.fetchval(statements.WHICH_BOOKS))
            self._journal.open(str(books))

    async def run(self) -> None:
        """Do it at once and then periodically, until cancelled; no error ends it."""
        while True:
            pause_s = self._period_s
            try:
                await self.step()
            except UNAVAILABLE as error:
                logger.warning("objects cannot be kept up now: %s", type(error).__name__)
                pause_s = min(_RETRY_S, pause_s)
            except Exception:
                logger.exception("objects cannot be kept up")
            await asyncio.sleep(pause_s)

    async def finish(self) -> None:
        """Record what is left, if the database is there; otherwise another process does it."""
        with suppress(*UNAVAILABLE):
            await self.record_overdue(0)

    async def step(self) -> None:
        """Do everything once; raises what asyncpg raises."""
        await self.open_journal()
        self._journal.leave_removed()
        await self._journal.repair()
        await self.record_overdue(self._overdue_s)
        await self._adopt()
        await self._repeat(statements.DELETE_EXPIRED_OBJECTS)
        now = time.monotonic()
        if now >= self._forget_at:
            await self._repeat(statements.FORGET_OBJECTS)
            self._forget_at = now + _FORGET_S

    async def record_overdue(self, age_s: float) -> None:
        """Record what was noted longer ago than this; raises what asyncpg raises."""
        while lines := self._journal.overdue(age_s, _LINES_AT_ONCE):
            refused = set(await self._record([line.written for line in lines]))
            for line in lines:
                if line.written in refused:
                    # It stays in the file. When this process is gone, that is put aside.
                    self._journal.give_up(line)
                else:
                    self._journal.committed(line)

    async def _adopt(self) -> None:
        if self._journal.folder is None:
            return
        for left in self._adoption.adopt(self._journal.folder):
            try:
                refused = await self._record(left.written)
            except BaseException:
                left.leave()
                raise
            _put_away(left, len(refused))

    async def _record(self, written: Sequence[Written]) -> list[Written]:
        """Record objects; returns those that the database refuses for what they say."""
        refused: list[Written] = []
        for start in range(0, len(written), _LINES_AT_ONCE):
            some = written[start : start + _LINES_AT_ONCE]
            try:
                await record_written(self._pool, some, are_made=False)
            except UNAVAILABLE:
                raise
            except Exception:
                if len(some) == 1:
                    logger.exception("objects of account %d cannot be recorded", some[0].account_id)
                    refused += some
                else:
                    for one in some:
                        refused += await self._record([one])
        return refused

    async def _repeat(self, statement: str) -> None:
        """Run a statement that changes so many rows at once until none is left."""
        while True:
            done = await self._pool.execute(statement, _ROWS_AT_ONCE, deadline_s=_DEADLINE_S)
            if int(done.rpartition(" ")[2]) < _ROWS_AT_ONCE:
                return


def _put_away(left: Left, refused: int) -> None:
    if refused or left.damaged:
        left.keep(f"{refused + left.damaged} of its lines cannot be read or recorded")
        return
    if left.written:
        logger.warning("%d lines of objects recorded from a dead process", len(left.written))
    left.done()
