"""What an `Ending` does with the objects that a response names."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.proxy.test_ending import USED, Requests, Seen
from tests.support.books import create_holder
from tokenbalance.books.holds.leases import Leases
from tokenbalance.books.holds.settler import Settler
from tokenbalance.books.ledger.book import Book
from tokenbalance.database.connections import Pool
from tokenbalance.model.objects import Found
from tokenbalance.owners.journal import ObjectJournal
from tokenbalance.owners.registry import Owners
from tokenbalance.owners.upkeep import Upkeep
from tokenbalance.proxy.ending import Ending, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FOUND = [Found("response", "resp_1", tokens=12), Found("item", "msg_1", "resp_1")]


class Making(Requests):
    """Requests whose responses name objects."""

    journal: ObjectJournal
    owners: Owners

    async def going(self, stage: Stage) -> Ending:
        """A request at a stage, which has seen its usage."""
        ending = await self.at(stage)
        ending.meter, ending.owners = Seen(USED), self.owners
        return ending

    async def owned(self) -> list[str]:
        """What the holder has."""
        ids = [(one.kind, one.id) for one in FOUND]
        return sorted(
            found.id for found in (await self.owners.find(self.holder.account_id, ids)).values()
        )

    async def until_recorded(self) -> list[str]:
        """What the holder has when everything that was noted is recorded."""
        await Upkeep(self.pool, self.journal, 60).record_overdue(0)
        assert len(self.journal) == 0
        return await self.owned()


@pytest.fixture
async def making(pool: Pool, tmp_path: Path) -> AsyncIterator[Making]:
    book = Book(pool)
    leases = Leases(tmp_path / "journal")
    await leases.open_journal(book)
    holder = await create_holder(pool, 1000)
    making = Making(pool, book, leases, Settler(book, leases), holder)
    making.journal = ObjectJournal(tmp_path / "journal")
    making.journal.open("books")
    making.owners = Owners(pool, making.journal)
    yield making
    making.journal.close()
    leases.close_journal()


@pytest.mark.parametrize("stage", [Stage.DISPATCHED, Stage.FREE])
async def test_they_are_the_callers_when_the_end_returns(making: Making, stage: Stage) -> None:
    ending = await making.going(stage)
    making.owners.note(making.holder.caller, FOUND[1:])
    charge = await ending.settle(whole=True, found=FOUND)
    assert (charge is None) == (stage is Stage.FREE)
    assert await making.owned() == ["msg_1", "resp_1"]
    assert len(making.journal) == 0


@pytest.mark.parametrize("end", ["nothing was used", "it had ended before"])
async def test_so_are_those_of_a_response_that_is_not_charged(making: Making, end: str) -> None:
    ending = await making.going(Stage.DISPATCHED)
    if end == "nothing was used":
        ending.meter = Seen(failed=True, has_output=False)
    else:
        await ending.cut()
    assert await ending.settle(whole=True, found=FOUND) is None
    assert await making.owned() == ["msg_1", "resp_1"]
    assert len(making.journal) == 0


async def test_while_the_database_is_away_they_are_in_the_journal(
    making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = await making.going(Stage.DISPATCHED)
    with monkeypatch.context() as patch:
        for method in ("fetch", "fetchrow", "execute"):
            patch.setattr(Pool, method, _away)
        assert await ending.settle(whole=True, found=FOUND) is None
        assert len(making.journal) == 1
    assert await making.until_over() == ["settled"]
    assert await making.until_recorded() == ["msg_1", "resp_1"]


async def test_a_request_that_is_cancelled_while_it_is_charged_loses_none(making: Making) -> None:
    ending = await making.going(Stage.DISPATCHED)
    await making.cancel_while_blocked(ending.settle(whole=True, found=FOUND))
    assert len(making.journal) == 1
    assert await making.until_over() == ["settled"]
    assert await making.owned() == ["msg_1", "resp_1"]
    assert await making.until_recorded() == ["msg_1", "resp_1"]


async def test_where_they_can_be_neither_noted_nor_committed_the_response_must_not_pass(
    making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = await making.going(Stage.DISPATCHED)
    with monkeypatch.context() as patch:
        making.journal.close()
        for method in ("fetch", "fetchrow", "execute"):
            patch.setattr(Pool, method, _away)
        with pytest.raises(asyncpg.CannotConnectNowError):
            await ending.settle(whole=True, found=FOUND)
    assert await making.until_over() == ["settled"]
    assert await making.owned() == ["msg_1", "resp_1"]


async def _away(*_: object, **_more: object) -> None:
    await asyncio.sleep(0)
    raise asyncpg.CannotConnectNowError
