"""Objects are found by their owner, and recorded before anybody can see them."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tokenbalance.database.connections import Pool
from tokenbalance.model.objects import Found, Owned
from tokenbalance.owners.journal import ROTATED_BYTES
from tokenbalance.owners.registry import Owners

if TYPE_CHECKING:
    from tests.owners.recording.conftest import Keeping
    from tests.support.books import Holder


def files(*names: str) -> list[Found]:
    return [Found("file", name) for name in names]


async def test_what_is_recorded_is_its_makers_and_nobody_elses(
    here: Keeping, maker: Holder, other: Holder
) -> None:
    found = Found("file", "r-1", "r-0", "processed", 120, 9, 2_000_000_000, '{"id": "r-1"}')
    await here.owners.record(maker.caller, [found])
    assert await here.owners.find(maker.account_id, [("file", "r-1"), ("file", "r-9")]) == {
        ("file", "r-1"): Owned("file", "r-1", "r-0", "processed", 9, 120)
    }
    assert await here.has(maker, "r-1", kind="container_file") == []
    assert await here.has(other, "r-1") == []
    assert len(here.journal) == 0


async def test_what_others_have_is_never_taken_from_them_or_changed(
    here: Keeping, maker: Holder, other: Holder
) -> None:
    await here.owners.record(maker.caller, files("t-1", "t-2"))
    assert await here.owners.delete(maker.account_id, "file", "t-2")
    theirs = [Found("file", name, state="theirs") for name in ("t-1", "t-2")]
    await here.owners.record(other.caller, theirs)
    assert await here.owners.find(maker.account_id, [("file", "t-1"), ("file", "t-2")]) == {
        ("file", "t-1"): Owned("file", "t-1", None, None, None, None)
    }
    assert await here.has(other, "t-1", "t-2") == []


async def test_an_id_that_cannot_be_stored_fails_nobody_who_shares_the_statement(
    here: Keeping, maker: Holder
) -> None:
    await here.owners.record(maker.caller, files("u-1"))
    odd = ["\0", "\ud800", "", "x" * 1000]
    found = await asyncio.gather(*(here.has(maker, "u-1", name) for name in odd))
    assert found == [["u-1"]] * len(odd)


async def test_calls_at_the_same_time_share_statements_and_keep_apart(
    here: Keeping, maker: Holder, other: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []
    execute, fetch = Pool.execute, Pool.fetch

    async def count(self: Pool, statement: str, *arguments: object, deadline_s: float = 9) -> str:
        statements.append("record")
        return await execute(self, statement, *arguments, deadline_s=deadline_s)

    async def look(
        self: Pool, statement: str, *arguments: object, deadline_s: float = 9
    ) -> list[asyncpg.Record]:
        statements.append("find")
        return await fetch(self, statement, *arguments, deadline_s=deadline_s)

    monkeypatch.setattr(Pool, "execute", count)
    monkeypatch.setattr(Pool, "fetch", look)
    names = [f"c-{number}" for number in range(40)]
    await asyncio.gather(
        *(
            here.owners.record((maker, other)[number % 2].caller, files(name))
            for number, name in enumerate(names)
        )
    )
    found = await asyncio.gather(*(here.has(maker, name) for name in names))
    assert [bool(one) for one in found] == [number % 2 == 0 for number in range(40)]
    assert statements == ["record", "find"]


@pytest.mark.parametrize(
    "found",
    [
        Found("file", "o-1", parent="x" * 513),
        Found("file", "o-1", parent="a\0b", state="a\0b"),
        Found("file", "o-1", size=-1, tokens=2**70, expires_at=10**15),
        Found("file", "o-1", snapshot=r'{"a": "\u0000", "b": "\\u0000", "c": "\\\u0000"}'),
        Found("file", "o-1", snapshot='{"pretty":\n [1,\r\n 2]}'),
    ],
)
async def test_nothing_that_an_object_says_fails_its_record(
    here: Keeping, pool: Pool, maker: Holder, found: Found
) -> None:
    await pool.execute("TRUNCATE objects")
    await here.owners.record(maker.caller, [found, Found("file", "a\0b"), Found("file", "y" * 513)])
    assert here.owners.note(maker.caller, [found])
    await here.upkeep.record_overdue(0)
    assert await here.has(maker, "o-1", "a\0b", "y" * 513) == ["o-1"]
    assert len(here.journal) == 0


async def test_of_two_objects_with_one_id_the_last_counts(
    here: Keeping, pool: Pool, maker: Holder
) -> None:
    twice = [Found("file", "d-1", state="first"), Found("file", "d-1", state="last")]
    await here.owners.record(maker.caller, twice)
    await asyncio.gather(*(here.owners.record(maker.caller, [one]) for one in twice))
    state = await pool.fetchval("SELECT state FROM objects WHERE object_id = 'd-1'")
    assert state == "last"


async def test_what_is_noted_is_recorded_when_it_is_overdue(here: Keeping, maker: Holder) -> None:
    assert here.owners.note(maker.caller, files("n-1", "n-2"))
    assert here.owners.note(maker.caller, files("n-1", "n-3"))
    assert await here.has(maker, "n-1") == []
    await here.upkeep.record_overdue(3600)
    assert await here.has(maker, "n-1") == []
    await here.upkeep.record_overdue(0)
    assert await here.has(maker, "n-1", "n-2", "n-3") == ["n-1", "n-2", "n-3"]
    assert len(here.journal) == 0


async def test_what_was_noted_and_then_committed_is_not_recorded_again(
    here: Keeping, maker: Holder
) -> None:
    here.owners.note(maker.caller, files("m-1", "m-2"))
    here.owners.note(maker.caller, files("m-2"))
    await here.owners.record(maker.caller, files("m-2"))
    assert len(here.journal) == 1
    await here.owners.record(maker.caller, files("m-1"))
    assert len(here.journal) == 0


async def test_while_the_database_is_away_the_journal_is_enough(
    here: Keeping, maker: Holder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Pool, "execute", _fail)
        await here.owners.record(maker.caller, files("w-1"))
        await here.owners.record(maker.caller, files("w-2"))
        with pytest.raises(asyncpg.CannotConnectNowError):
            await here.upkeep.record_overdue(0)
    assert caplog.text.count("objects cannot be recorded now") == 1
    assert len(here.journal) == 2
    await here.upkeep.record_overdue(0)
    assert await here.has(maker, "w-1", "w-2") == ["w-1", "w-2"]


async def test_without_a_journal_the_commit_alone_counts(
    here: Keeping,
    pool: Pool,
    maker: Holder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert here.owners.note(maker.caller, files("j-1"))
    assert here.owners.ready
    written = os.pwrite
    monkeypatch.setattr("os.pwrite", _full)
    assert not here.owners.note(maker.caller, files("j-2"))
    assert not here.owners.note(maker.caller, files("j-3"))
    await here.journal.repair()
    assert not here.owners.ready
    assert caplog.text.count("the journal of objects cannot be written: No space left") == 1
    await here.owners.record(maker.caller, files("j-2"))
    with monkeypatch.context() as patch:
        patch.setattr(Pool, "execute", _fail)
        with pytest.raises(asyncpg.CannotConnectNowError):
            await here.owners.record(maker.caller, files("j-3"))
    await here.upkeep.record_overdue(0)
    assert await here.has(maker, "j-1", "j-2", "j-3") == ["j-1", "j-2"]
    assert not Owners(pool).note(maker.caller, files("j-4"))
    monkeypatch.setattr("os.pwrite", written)
    await here.upkeep.step()
    assert here.owners.ready
    assert here.owners.note(maker.caller, files("j-4"))


async def test_a_long_file_is_followed_by_another_and_goes_when_its_lines_do(
    here: Keeping, maker: Holder
) -> None:
    large = Found("file", "l-1", snapshot=f'{{"a": "{"x" * (ROTATED_BYTES // 3)}"}}')
    here.owners.note(maker.caller, files("l-0"))
    for _ in range(3):
        here.owners.note(maker.caller, [large])
    assert len(here.files()) == 2
    await here.upkeep.record_overdue(0)
    (left,) = here.files()
    assert left.stat().st_size < 1000
    here.journal.close()
    assert here.files() == []


async def _fail(*_: object, **_more: object) -> str:
    raise asyncpg.CannotConnectNowError


def _full(*_: object) -> int:
    raise OSError(28, "No space left on device")
