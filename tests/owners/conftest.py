"""The table of objects in one database a file, and a journal a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support import postgres
from tests.support.books import create_holder
from tokenbalance.database.connections import open_pool
from tokenbalance.owners.journal import ObjectJournal
from tokenbalance.owners.registry import Owners
from tokenbalance.owners.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool
    from tokenbalance.postgres import EmbeddedPostgres


@pytest.fixture(scope="module")
async def shared_dsn(cluster: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    dsn = await postgres.clone(cluster, template)
    yield dsn
    await postgres.drop(cluster, dsn)


@pytest.fixture(scope="module")
async def pool(shared_dsn: str) -> AsyncIterator[Pool]:
    async with open_pool(shared_dsn, size=5) as pool:
        yield pool


@pytest.fixture
async def maker(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


@pytest.fixture
async def other(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


@dataclass(frozen=True, slots=True)
class Keeping:
    """What one process has of objects."""

    owners: Owners
    journal: ObjectJournal
    upkeep: Upkeep

    async def has(self, holder: Holder, *ids: str, kind: str = "file") -> list[str]:
        """Those of these ids that are the holder's."""
        found = await self.owners.find(holder.account_id, [(kind, one) for one in ids])
        return sorted(one.id for one in found.values())

    def files(self) -> Sequence[Path]:
        """The files of all journals."""
        assert self.journal.folder is not None
        return sorted(self.journal.folder.glob("*"))


def new_keeping(pool: Pool, folder: Path) -> Keeping:
    """Begin a process."""
    journal = ObjectJournal(folder)
    journal.open("books")
    return Keeping(Owners(pool, journal), journal, Upkeep(pool, journal, 3600, overdue_s=0))


@pytest.fixture
async def here(pool: Pool, tmp_path: Path) -> AsyncIterator[Keeping]:
    """This process."""
    here = new_keeping(pool, tmp_path)
    yield here
    here.journal.close()


@pytest.fixture
async def beside(pool: Pool, tmp_path: Path) -> Keeping:
    """Another process on this machine; to be killed by `close` of its journal."""
    return new_keeping(pool, tmp_path)
