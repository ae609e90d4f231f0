"""Pages of an account's objects of one kind, in the order in which they were recorded.

Owns where a page begins and ends, and what is kept of an object's later descriptions. It must never
show an object to an account that is not its owner, nor make one anybody's.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, cast

import orjson

from tokenbalance.database import statements
from tokenbalance.model.values import value

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Json
    from tokenbalance.model.objects import Found

Place: TypeAlias = tuple[datetime, str]
"""When an object was recorded, and its id."""
_NOWHERE: Final = (None, None)


class ListedObject(NamedTuple):
    """An object in a list."""

    id: str
    recorded_at: datetime
    state: str | None
    has_ended: bool | None
    """Whether its time is over, as far as it is known."""
    snapshot: str | None
    """As the upstream described it last, as JSON."""

    @property
    def place(self) -> Place:
        """Where it is in the list."""
        return self.recorded_at, self.id


@value
class Stretch:
    """A part of a list, and from which end it is read."""

    account_id: int
    kind: str
    newest_first: bool
    older: Place | None = None
    """Its objects are newer than the one here."""
    newer: Place | None = None
    """Its objects are older than the one here."""
    wanted: tuple[tuple[str, Json], ...] = ()
    """Members that their descriptions have, with their values."""

    def beyond(self, place: Place) -> Stretch:
        """What is left of it once it was read up to a place."""
        if self.newest_first:
            return replace(self, newer=place)
        return replace(self, older=place)


class ObjectLists:
    """Reads lists; every method raises what asyncpg raises."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def place_of(self, account_id: int, kind: str, object_id: str) -> Place | None:
        """Find where an object is in its list, or was; None if it never was the account's."""
        row = await self._pool.fetchrow(statements.PLACE_OF_OBJECT, account_id, object_id, kind)
        return None if row is None else cast("Place", tuple(row))

    async def read(
        self, stretch: Stretch, rows_max: int, *, unknown: bool = False
    ) -> list[ListedObject]:
        """Read the first objects of a part of a list.

        Args:
            stretch: the part.
            rows_max: how many at most.
            unknown: include those whose description lacks a member that is wanted.

        """
        wanted = dict(stretch.wanted)
        statement = statements.NEWEST_OBJECTS if stretch.newest_first else statements.OLDEST_OBJECTS
        rows = await self._pool.fetch(
            statement,
            stretch.account_id,
            stretch.kind,
            *(stretch.older or _NOWHERE),
            *(stretch.newer or _NOWHERE),
            orjson.dumps(wanted).decode() if wanted else None,
            list(wanted),
            unknown,
            rows_max,
        )
        return [
            ListedObject(*cast("tuple[str, datetime, str | None, bool | None, str | None]", row))
            for row in map(tuple, rows)
        ]

    async def describe(self, account_id: int, found: Found) -> None:
        """Keep how the upstream describes an object now, if it is the account's."""
        _ = await self._pool.execute(
            statements.DESCRIBE_OBJECT,
            account_id,
            found.id,
            found.kind,
            found.state,
            found.size,
            found.expires_at,
            found.snapshot,
        )
