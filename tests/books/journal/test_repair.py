"""Repairing a journal, and random histories with repairs in them."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.journals import DEADLINE_S, ENTRY, USAGE, die, entry, fail, left, path_of
from tokenbalance.books.holds.journal import (
    SLOT_BYTES,
    Journal,
    JournalUnavailable,
    State,
)
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tokenbalance.books.holds.journal import Slot


class TestRepair:
    async def test_a_healthy_journal_keeps_its_file(self, journal: Journal) -> None:
        before = path_of(journal).stat().st_ino
        await journal.repair()
        assert path_of(journal).stat().st_ino == before

    async def test_that_fails_changes_nothing(
        self, folder: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slot = journal.begin(ENTRY)
        monkeypatch.setattr(os, "fdatasync", fail)
        with pytest.raises(JournalUnavailable):
            await journal.sync()
        await journal.repair()
        assert not journal.healthy
        assert os.listdir(folder) == [path_of(journal).name]  # noqa: PTH208 - a folder of one
        slot.use(USAGE)
        die(journal)
        monkeypatch.undo()
        assert left(folder) == {ENTRY.request_id: (State.USED, USAGE)}

    async def test_a_new_file_is_not_trusted_before_the_folder_shows_it(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal._slots.refused = True
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", fail)
            await journal.repair()
        assert not journal.healthy
        with pytest.raises(JournalUnavailable):
            await journal.sync()
        await journal.repair()
        assert journal.healthy

    async def test_misses_nothing_that_happens_meanwhile(
        self, folder: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        used, ended, untouched = (journal.begin(entry(number)) for number in range(3))
        changes: list[Callable[[], None]] = [lambda: used.use(USAGE), ended.clear]
        loop, flush = asyncio.get_running_loop(), os.fdatasync
        flushed: list[int] = []

        def flush_then_change(descriptor: int) -> None:
            """Each flush of the new file is too early for one more change."""
            flush(descriptor)
            flushed.append(descriptor)
            if changes:
                _on_loop(loop, changes.pop(0))

        monkeypatch.setattr(os, "fdatasync", flush_then_change)
        journal._slots.refused = True
        await asyncio.gather(journal.repair(), journal.repair())
        assert len(flushed) == 3
        following = journal.begin(entry(3))
        assert path_of(journal).stat().st_size == 4 * SLOT_BYTES
        die(journal)
        assert left(folder) == {
            used.entry.request_id: (State.USED, USAGE),
            following.entry.request_id: (State.PLACING, None),
            untouched.entry.request_id: (State.PLACING, None),
        }

    async def test_ends_quietly_when_the_journal_is_closed_meanwhile(
        self, folder: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loop, flush = asyncio.get_running_loop(), os.fdatasync
        journal.begin(ENTRY)

        def close_then_flush(descriptor: int) -> None:
            monkeypatch.setattr(os, "fdatasync", flush)
            _on_loop(loop, journal.close)
            flush(descriptor)

        journal._slots.refused = True
        monkeypatch.setattr(os, "fdatasync", close_then_flush)
        await journal.repair()
        assert left(folder) == {ENTRY.request_id: (State.PLACING, None)}

    async def test_a_file_swapped_in_is_not_adopted(self, folder: Path, journal: Journal) -> None:
        journal.begin(ENTRY)
        journal._slots.refused = True
        await journal.repair()
        other = Journal.open(folder)
        assert other.adopt() == []
        other.close()


def _on_loop(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    done = threading.Event()

    def run() -> None:
        act()
        done.set()

    loop.call_soon_threadsafe(run)
    assert done.wait(DEADLINE_S)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("begin", "dispatch", "use", "void", "clear", "repair")),
        st.integers(0, 5),
    ),
    max_size=40,
)


@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_a_dead_process_left_exactly_what_it_had_in_progress(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal.open(folder)
    slots: list[Slot] = []
    model: dict[str, tuple[State, Usage | None]] = {}
    for number, (step, choice) in enumerate(steps):
        if step == "begin":
            slots.append(journal.begin(entry(number)))
            model[entry(number).request_id] = (State.PLACING, None)
        elif step == "repair":
            journal._slots.refused = True
            asyncio.run(journal.repair())
        elif slots:
            slot = slots[choice % len(slots)]
            _take_step(step, slot, Usage(total=number))
            model[slot.entry.request_id] = (slot.state, slot.usage)
            if step == "clear":
                slots.remove(slot)
                del model[slot.entry.request_id]
    die(journal)
    assert left(folder) == model


def _take_step(step: str, slot: Slot, usage: Usage) -> None:
    if step == "dispatch" and slot.state is State.PLACING:
        slot.dispatch()
    elif step == "use":
        slot.use(usage)
    elif step == "void":
        slot.void()
    elif step == "clear":
        slot.clear()
