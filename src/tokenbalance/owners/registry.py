"""The table of objects: who owns what the upstream stores under an id.

    find       the caller's own, and nobody else's
    record     committed when it returns; or noted, where the database is away
    note       written down at once, committed later: with a charge, or by the upkeep
    carry      committed by the statement of a charge
    delete     nobody's from now on

Owns how rows are found, recorded and deleted. It must never find an object for an account that is
not its owner, and says the same of somebody else's object as of one that nobody has. Simultaneous
calls share a statement.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, cast

from tokenbalance.database import statements
from tokenbalance.database.batches import BATCH_MAX, Batches
from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.model.objects import Owned
from tokenbalance.owners.journal import ObjectsNotNoted
from tokenbalance.owners.lines import Written
from tokenbalance.owners.lists import ObjectLists
from tokenbalance.owners.rows import is_id, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tokenbalance.database.batches import Batch
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Caller
    from tokenbalance.model.objects import Found
    from tokenbalance.owners.journal import Key, Line, ObjectJournal

logger = logging.getLogger(__name__)

_PASSING: Final = frozenset({"item", "response"})
"""Kinds that the upstream forgets by itself, 30 days after they were made."""

_OwnedByKey: TypeAlias = "dict[tuple[str, str], Owned]"
_FoundRow: TypeAlias = (
    "tuple[int, str, str, str | None, str | None, int | None, int | None, str | None]"
)


class _Sought(NamedTuple):
    account_id: int
    ids: Sequence[tuple[str, str]]


@dataclass(slots=True, eq=False)
class Carried:
    """Objects that the statement of a charge commits."""

    rows: str
    """As JSON, for the statement."""
    _owners: Owners
    _caller: Caller
    _found: Sequence[Found]
    _line: Line | None

    def note(self) -> bool:
        """Write them down, unless they are; False if that is not possible."""
        if self._line is None:
            self._line = self._owners.line_of(self._caller, self.rows)
        return self._line is not None

    async def is_safe(self) -> bool:
        """Flush them to the disk, where the charge has to wait for the database.

        Returns:
            Whether the journal has them. If not, they must be committed before they are seen.

        """
        return self.note() and await self._owners.is_flushed()

    def committed(self) -> None:
        """The statement is committed: nothing of it is left to do."""
        self._owners.committed(self._caller, self._found, self._line)


class Owners:
    """Finds and records objects; every method raises what asyncpg raises."""

    def __init__(
        self, pool: Pool, journal: ObjectJournal | None = None, *, batch_max: int = BATCH_MAX
    ) -> None:
        """Begin with nothing noted.

        Args:
            pool: the connections of the request path.
            journal: where objects are noted; None: nowhere, so that the commit alone counts.
            batch_max: the most callers that share a statement.

        """
        self._pool = pool
        self._journal = journal
        self._is_away = False
        turns = pool.turns
        self._finding = Batches[_Sought, _OwnedByKey](self._find, batch_max, turns=turns)
        self._recording = Batches[Written, None](self._record, batch_max, turns=turns)
        self.lists: ObjectLists = ObjectLists(pool)

    @property
    def ready(self) -> bool:
        """Whether objects can be noted, so that they are safe while the database is away."""
        return self._journal is None or self._journal.ready

    async def find(
        self, account_id: int, ids: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], Owned]:
        """Look up objects of an account.

        Args:
            account_id: whose.
            ids: pairs of a kind and an id.

        Returns:
            Those that it has, by kind and id.

        """
        # Others share the statement, and must not be failed by what it cannot take.
        sought = [(kind, one) for kind, one in ids if is_id(one)]
        if not sought:
            return {}
        return cast("_OwnedByKey", await self._finding.submit(_Sought(account_id, sought)))

    async def record(self, caller: Caller, found: Sequence[Found]) -> None:
        """Make objects the caller's; returns when that is committed.

        It also returns where the database is away and the objects are flushed to the journal. Only
        where neither is possible it raises, and the ids must not be passed on.
        """
        if not found:
            return
        carried = self.carry(caller, found)
        try:
            await self._recording.submit(Written(caller.account_id, caller.key_id, carried.rows))
        except UNAVAILABLE as error:
            if not await carried.is_safe():
                raise
            self._log_away(error)
        except asyncio.CancelledError:
            _ = carried.note()
            raise
        else:
            self._is_away = False
            carried.committed()

    def note(self, caller: Caller, found: Sequence[Found]) -> bool:
        """Write down that objects are the caller's; the table gets them a little later.

        Returns:
            Whether they are safe. Otherwise `record` them before their ids are passed on.

        """
        if not found:
            return True
        return self.line_of(caller, rows_of(found), _keys(caller, found)) is not None

    def carry(self, caller: Caller, found: Sequence[Found]) -> Carried:
        """Take objects that a statement is to commit before anybody sees them.

        They are noted first, but for those that the upstream forgets by itself: if this process is
        killed before the commit, nobody owns them and nobody pays for them.
        """
        rows = rows_of(found)
        # A loop, which takes a third of the time of `all`.
        for one in found:
            if one.kind not in _PASSING:
                return Carried(rows, self, caller, found, self.line_of(caller, rows))
        return Carried(rows, self, caller, found, None)

    def line_of(self, caller: Caller, rows: str, keys: Iterable[Key] = ()) -> Line | None:
        """Write rows into the journal; None if that is not possible."""
        if self._journal is None:
            return None
        try:
            return self._journal.note(Written(caller.account_id, caller.key_id, rows), keys)
        except ObjectsNotNoted:
            return None

    def committed(self, caller: Caller, found: Sequence[Found], line: Line | None) -> None:
        """Forget what was noted of objects that are committed now: in this line, and before."""
        if self._journal is None:
            return
        if line is not None:
            self._journal.committed(line)
        self._journal.objects_committed(_keys(caller, found))

    async def is_flushed(self) -> bool:
        """Flush what was noted to the disk; False if that is not possible."""
        if self._journal is None:
            return False
        try:
            await self._journal.sync()
        except ObjectsNotNoted:
            return False
        return True

    async def delete(self, account_id: int, kind: str, object_id: str) -> bool:
        """Mark an object and its parts as deleted; False if the account has no such object."""
        return is_id(object_id) and bool(
            await self._pool.fetch(statements.DELETE_OBJECT, account_id, object_id, kind)
        )

    async def restore(self, account_id: int, kind: str, object_id: str) -> None:
        """Take a deletion back: the upstream has the object still."""
        _ = await self._pool.execute(statements.RESTORE_OBJECT, account_id, object_id, kind)

    async def occupy(
        self, account_id: int, object_id: str, holder: str, seconds: float, *, kind: str
    ) -> bool:
        """Keep an object for one request, for so many seconds from now.

        Returns:
            False while another one has it.

        """
        return bool(
            await self._pool.fetch(
                statements.OCCUPY_OBJECT, account_id, object_id, kind, holder, seconds
            )
        )

    async def vacate(self, account_id: int, object_id: str, holder: str, *, kind: str) -> None:
        """Let others have an object that a request has kept."""
        _ = await self._pool.execute(statements.VACATE_OBJECT, account_id, object_id, kind, holder)

    def _log_away(self, error: Exception) -> None:
        """Log it once, until the database is back: a thousand responses may wait for it."""
        if not self._is_away:
            self._is_away = True
            logger.warning(
                "objects cannot be recorded now and are kept in the journal: %s",
                type(error).__name__,
            )

    async def _find(self, batch: Batch[_Sought, _OwnedByKey]) -> None:
        sought = [
            (pending.item.account_id, object_id, kind, number)
            for number, pending in enumerate(batch)
            for kind, object_id in pending.item.ids
        ]
        accounts, ids, kinds, numbers = zip(*sought, strict=True)
        found: list[_OwnedByKey] = [{} for _ in batch]
        rows = await self._pool.fetch(statements.FIND_OBJECTS, accounts, ids, kinds)
        for row in cast("list[_FoundRow]", [tuple(row) for row in rows]):
            one = Owned(*row[1:])
            found[numbers[row[0] - 1]][one.kind, one.id] = one
        for pending, owned in zip(batch, found, strict=True):
            pending.resolve(owned)

    async def _record(self, batch: Batch[Written, None]) -> None:
        await record_written(self._pool, [pending.item for pending in batch], are_made=True)
        for pending in batch:
            pending.resolve(None)


async def record_written(pool: Pool, written: Sequence[Written], *, are_made: bool) -> None:
    """Record objects of several callers; raises what asyncpg raises.

    Args:
        pool: connections to the database.
        written: whose, and which.
        are_made: the upstream has just named them as made, so those that were deleted are back.

    """
    _ = await pool.execute(
        statements.RECORD_OBJECTS,
        [one.account_id for one in written],
        [one.key_id for one in written],
        [one.rows for one in written],
        are_made,
    )


def _keys(caller: Caller, found: Sequence[Found]) -> Iterable[Key]:
    return ((caller.account_id, one.kind, one.id) for one in found)
