"""A disk that refuses writes, and flushes to the disk."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.journals import (
    DEADLINE_S,
    ENTRY,
    USAGE,
    die,
    entry,
    fail,
    full_device,
    left,
    path_of,
    refuse,
)
from tokenbalance.books.holds.journal import (
    SLOT_BYTES,
    Journal,
    JournalUnavailable,
    State,
)

if TYPE_CHECKING:
    from pathlib import Path


@full_device
class TestADiskThatRefuses:
    async def test_that_loses_the_file_closes_nothing_but_is_repaired(
        self, folder: Path, journal: Journal
    ) -> None:
        earlier = journal.begin(entry(1))
        shutil.rmtree(folder)
        await journal.repair()
        assert journal.healthy
        earlier.dispatch()
        die(journal)
        assert left(folder) == {entry(1).request_id: (State.DISPATCHED, None)}

    async def test_closes_admission_until_it_is_repaired(
        self, folder: Path, journal: Journal
    ) -> None:
        earlier = journal.begin(entry(1))
        refuse(journal)
        with pytest.raises(JournalUnavailable):
            journal.begin(ENTRY)
        assert not journal.healthy
        assert journal.in_use == 1
        with pytest.raises(JournalUnavailable):
            earlier.dispatch()
        await journal.repair()
        assert journal.healthy
        earlier.dispatch()
        journal.begin(ENTRY).dispatch()
        die(journal)
        assert left(folder) == {
            entry(1).request_id: (State.DISPATCHED, None),
            ENTRY.request_id: (State.DISPATCHED, None),
        }

    async def test_is_tried_again_only_by_a_repair(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refuse(journal)
        with pytest.raises(JournalUnavailable):
            journal.begin(ENTRY)
        monkeypatch.setattr(os, "pwrite", fail)
        with pytest.raises(JournalUnavailable, match="not repaired"):
            journal.begin(ENTRY)

    async def test_a_usage_that_could_not_be_written_is_written_by_the_repair(
        self, folder: Path, journal: Journal
    ) -> None:
        slot = journal.begin(ENTRY)
        slot.dispatch()
        refuse(journal)
        with pytest.raises(JournalUnavailable):
            slot.use(USAGE)
        await journal.repair()
        die(journal)
        assert left(folder) == {ENTRY.request_id: (State.USED, USAGE)}

    async def test_a_void_that_could_not_be_written_is_written_by_the_repair(
        self, folder: Path, journal: Journal
    ) -> None:
        slot = journal.begin(ENTRY)
        slot.dispatch()
        refuse(journal)
        with pytest.raises(JournalUnavailable):
            slot.void()
        assert not journal.healthy
        await journal.repair()
        die(journal)
        assert left(folder) == {ENTRY.request_id: (State.VOID, None)}

    async def test_an_end_that_could_not_be_written_never_raises_and_is_left_out_by_the_repair(
        self, folder: Path, journal: Journal
    ) -> None:
        ended, other = journal.begin(ENTRY), journal.begin(entry(1))
        refuse(journal)
        ended.clear()
        assert not journal.healthy
        await journal.repair()
        assert other.number == 1
        die(journal)
        assert left(folder) == {entry(1).request_id: (State.PLACING, None)}


class TestSync:
    async def test_callers_share_a_flush(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flushes: list[int] = []
        monkeypatch.setattr(os, "fdatasync", flushes.append)
        await asyncio.gather(*(journal.sync() for _ in range(50)))
        assert len(flushes) == 1
        await journal.sync()
        assert len(flushes) == 2

    async def test_who_writes_during_a_flush_waits_for_the_next(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        began, may_end = threading.Event(), threading.Event()
        shown: list[bytes] = []

        def flush(descriptor: int) -> None:
            shown.append(os.pread(descriptor, 1, SLOT_BYTES))
            began.set()
            assert may_end.wait(DEADLINE_S)

        monkeypatch.setattr(os, "fdatasync", flush)
        slot = journal.begin(ENTRY)
        early = asyncio.create_task(journal.sync())
        assert await asyncio.to_thread(began.wait, DEADLINE_S)
        slot.use(USAGE)
        late: list[asyncio.Task[None]] = []
        for _ in range(10):
            late.append(asyncio.create_task(journal.sync()))
            # It has asked, and what it began has had its turn, before the first flush ends.
            for _ in range(3):
                await asyncio.sleep(0)
        may_end.set()
        await asyncio.gather(early, *late)
        assert shown == [b"p", b"u"]

    async def test_a_caller_that_leaves_takes_no_flush_from_the_others(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        began, may_end = threading.Event(), threading.Event()

        def flush(_descriptor: int) -> None:
            began.set()
            assert may_end.wait(DEADLINE_S)

        monkeypatch.setattr(os, "fdatasync", flush)
        first, second = (asyncio.create_task(journal.sync()) for _ in range(2))
        assert await asyncio.to_thread(began.wait, DEADLINE_S)
        first.cancel()
        may_end.set()
        await second
        with pytest.raises(asyncio.CancelledError):
            await first

    async def test_a_failed_flush_is_never_believed_the_second_time(
        self, folder: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slot, placing = journal.begin(ENTRY), journal.begin(entry(2))
        slot.use(USAGE)
        with monkeypatch.context() as broken:
            broken.setattr(os, "fdatasync", fail)
            results = await asyncio.gather(
                *(journal.sync() for _ in range(3)), return_exceptions=True
            )
        assert [type(result) for result in results] == [JournalUnavailable] * 3
        assert not journal.healthy
        with pytest.raises(JournalUnavailable):
            await journal.sync()
        with pytest.raises(JournalUnavailable):
            journal.begin(entry(1))
        with pytest.raises(JournalUnavailable):
            placing.dispatch()
        placing.clear()
        before = path_of(journal).stat().st_ino
        await journal.repair()
        assert path_of(journal).stat().st_ino != before
        await journal.sync()
        die(journal)
        assert left(folder) == {ENTRY.request_id: (State.USED, USAGE)}

    @full_device
    async def test_usages_in_the_file_can_be_flushed_though_no_request_may_begin(
        self, journal: Journal
    ) -> None:
        slot = journal.begin(ENTRY)
        sound = os.dup(journal._slots.file.descriptor)
        refuse(journal)
        with pytest.raises(JournalUnavailable):
            journal.begin(entry(1))
        os.dup2(sound, journal._slots.file.descriptor, inheritable=False)
        os.close(sound)
        assert not journal.healthy
        slot.use(USAGE)
        await journal.sync()

    async def test_a_closed_journal_promises_nothing(self, folder: Path) -> None:
        journal = Journal.open(folder)
        journal.close()
        with pytest.raises(JournalUnavailable):
            await journal.sync()
