"""Pages of lists, against a model: whatever comes and goes, what stays is seen once, in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tokenbalance.owners.lists import ObjectLists, Stretch

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool
    from tokenbalance.owners.lists import Place

PURPOSES = ("vision", "batch", None)
"""None: nothing is known of the object."""
BEGAN = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Model:
    """The files of one account, as the list has them to be."""

    random: Random
    pool: Pool
    holder: Holder
    files: dict[Place, str | None] = field(default_factory=dict)
    """Those that are there, by their place, with their purposes."""

    async def add(self) -> None:
        """Record some files, of which some are of the same moment."""
        for _ in range(self.random.randint(0, 4)):
            moment = BEGAN + timedelta(seconds=self.random.randint(0, 9))
            place = moment, f"file-{self.random.randrange(10**9):09}"
            self.files[place] = purpose = self.random.choice(PURPOSES)
            snapshot = None if purpose is None else f'{{"purpose": "{purpose}"}}'
            await self.pool.execute(
                "INSERT INTO objects (object_id, kind, account_id, created_at, snapshot)"
                " VALUES ($1, 'file', $2, $3, $4)",
                place[1],
                self.holder.account_id,
                moment,
                snapshot,
            )

    async def remove(self) -> None:
        """Delete a file."""
        if self.files:
            place = self.random.choice(list(self.files))
            del self.files[place]
            await self.pool.execute(
                "UPDATE objects SET deleted_at = now() WHERE object_id = $1", place[1]
            )

    def within(self, stretch: Stretch, *, unknown: bool) -> list[Place]:
        """What is in a part of the list, in the order in which it is read."""
        wanted = dict(stretch.wanted).get("purpose")
        return sorted(
            (
                place
                for place, purpose in self.files.items()
                if (stretch.older is None or place > stretch.older)
                and (stretch.newer is None or place < stretch.newer)
                and (wanted is None or purpose == wanted or (unknown and purpose is None))
            ),
            reverse=stretch.newest_first,
        )


@pytest.mark.parametrize("seed", range(8))
async def test_pages_are_those_of_the_model_whatever_comes_and_goes(pool: Pool, seed: int) -> None:
    random = Random(seed)  # noqa: S311 - not a secret
    lists = ObjectLists(pool)
    model = Model(random, pool, await create_holder(pool))
    others = Model(random, pool, await create_holder(pool))
    for _ in range(20):
        await model.add()
        await others.add()
        purpose = random.choice(PURPOSES)
        stretch = Stretch(
            model.holder.account_id,
            "file",
            random.random() < 0.5,
            wanted=(("purpose", purpose),) if purpose else (),
        )
        unknown, rows_max = random.random() < 0.5, random.randint(1, 9)
        if model.files and random.random() < 0.5:
            # Between any two places, the deleted ones among them.
            first, last = sorted(random.choices([*model.files, *others.files], k=2))
            stretch = Stretch(
                stretch.account_id, "file", stretch.newest_first, first, last, stretch.wanted
            )
        seen: list[Place] = []
        while True:
            expected = model.within(stretch, unknown=unknown)
            rows = await lists.read(stretch, rows_max, unknown=unknown)
            assert [row.place for row in rows] == expected[:rows_max]
            seen += [row.place for row in rows]
            if len(rows) < rows_max:
                break
            stretch = stretch.beyond(rows[-1].place)
            await (model.add() if random.random() < 0.5 else model.remove())
        assert len(set(seen)) == len(seen)
        assert seen == sorted(seen, reverse=stretch.newest_first)


async def test_an_object_keeps_its_place_when_it_is_deleted(pool: Pool) -> None:
    holder, other = await create_holder(pool), await create_holder(pool)
    model = Model(Random(1), pool, holder)  # noqa: S311 - not a secret
    while not model.files:
        await model.add()
    (place, *_) = model.files
    lists = ObjectLists(pool)
    for _ in range(2):
        assert await lists.place_of(holder.account_id, "file", place[1]) == place
        assert await lists.place_of(other.account_id, "file", place[1]) is None
        assert await lists.place_of(holder.account_id, "container", place[1]) is None
        await pool.execute("UPDATE objects SET deleted_at = now()")
