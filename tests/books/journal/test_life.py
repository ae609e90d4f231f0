"""The life of a request in the journal, from its begin to its end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.journals import (
    ENTRY,
    EVERYTHING,
    LARGEST,
    USAGE,
    die,
    entry,
    left,
    path_of,
    remains,
)
from tokenbalance.books.holds.journal import (
    SLOT_BYTES,
    Entry,
    Journal,
    JournalUnavailable,
    State,
    Unfinished,
)
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tokenbalance.books.holds.journal import Slot


class TestTheLifeOfARequest:
    def test_a_request_is_placing_before_anything_else(
        self, folder: Path, journal: Journal
    ) -> None:
        journal.begin(ENTRY)
        die(journal)
        assert left(folder) == {ENTRY.request_id: (State.PLACING, None)}

    def test_a_dispatched_request_says_so(self, folder: Path, journal: Journal) -> None:
        journal.begin(ENTRY).dispatch()
        die(journal)
        assert left(folder) == {ENTRY.request_id: (State.DISPATCHED, None)}

    def test_a_usage_is_read_back_as_it_was(self, folder: Path, journal: Journal) -> None:
        usages = [USAGE, LARGEST, EVERYTHING, Usage(total=3, estimated=True)]
        for number, usage in enumerate(usages):
            slot = journal.begin(entry(number))
            slot.dispatch()
            slot.use(usage)
        die(journal)
        assert [usage for _, usage in left(folder).values()] == usages

    def test_the_identity_is_read_back_as_it_was(self, folder: Path, journal: Journal) -> None:
        given = Entry("tb_ü", 2**63 - 1, 2**63 - 1, '/models/{"model"}\n')
        journal.begin(given).use(USAGE)
        die(journal)
        abandoned = remains(folder)
        abandoned.done()
        assert abandoned.requests == (Unfinished(given, State.USED, USAGE, same_boot=True),)

    def test_a_later_usage_replaces_an_earlier(self, folder: Path, journal: Journal) -> None:
        slot = journal.begin(ENTRY)
        slot.use(LARGEST)
        slot.use(USAGE)
        die(journal)
        assert left(folder) == {ENTRY.request_id: (State.USED, USAGE)}

    def test_a_usage_of_more_kinds_than_fit_keeps_its_input_output_and_total(
        self, folder: Path, journal: Journal
    ) -> None:
        more = {f"kind_{number}": 1 for number in range(4)}
        usual, impossible = entry(1), entry(2)
        journal.begin(usual).use(Usage({**USAGE.quantities, **more}, 357))
        largest = {**LARGEST.quantities, **{f"call:{n}": LARGEST.total for n in range(20)}}
        journal.begin(impossible).use(Usage(largest, LARGEST.total))
        die(journal)
        whole = {"input": LARGEST.total, "output": LARGEST.total}
        assert left(folder) == {
            usual.request_id: (State.USED, Usage({**USAGE.quantities, **more}, 357)),
            impossible.request_id: (State.USED, Usage(whole, LARGEST.total)),
        }

    def test_a_usage_that_does_not_fit_gives_up_how_its_sides_divide_first(
        self, folder: Path, journal: Journal
    ) -> None:
        parts = dict.fromkeys(("cached_input", "reasoning", "image_tool_image_output"), 10**15)
        kept = {"input": 10**15, "output": 10**15, "image_tool_output": 10**15}
        fees = {"image": 1, "call:web_search": 7, "session:shell": 1, "tier:priority": 1}
        long = replace(ENTRY, endpoint="/" + "x" * 100)
        journal.begin(long).use(Usage({**parts, **kept, **fees}, 2 * 10**15))
        die(journal)
        assert left(folder) == {
            long.request_id: (State.USED, Usage({**kept, **fees}, 2 * 10**15)),
        }

    @pytest.mark.parametrize("before", ["placing", "dispatched", "used", "void"])
    def test_a_voided_request_says_so_however_far_it_had_come(
        self, folder: Path, journal: Journal, before: str
    ) -> None:
        slot = journal.begin(ENTRY)
        if before == "dispatched":
            slot.dispatch()
        elif before == "used":
            slot.use(LARGEST)
        elif before == "void":
            slot.void()
        slot.void()
        assert (slot.state, slot.usage) == (State.VOID, None)
        die(journal)
        assert left(folder) == {ENTRY.request_id: (State.VOID, None)}

    def test_a_voided_request_is_not_dispatched(self, folder: Path, journal: Journal) -> None:
        slot = journal.begin(ENTRY)
        slot.void()
        with pytest.raises(ValueError, match="placed"):
            slot.dispatch()
        die(journal)
        assert left(folder) == {ENTRY.request_id: (State.VOID, None)}

    def test_a_usage_replaces_a_void(self, folder: Path, journal: Journal) -> None:
        slot = journal.begin(ENTRY)
        slot.void()
        slot.use(USAGE)
        die(journal)
        assert left(folder) == {ENTRY.request_id: (State.USED, USAGE)}

    def test_a_voided_request_that_has_ended_is_gone(self, folder: Path, journal: Journal) -> None:
        voided, other = journal.begin(ENTRY), journal.begin(entry(1))
        voided.void()
        voided.clear()
        assert journal.in_use == 1
        assert journal.begin(entry(2)).number == voided.number
        die(journal)
        assert left(folder) == {
            other.entry.request_id: (State.PLACING, None),
            entry(2).request_id: (State.PLACING, None),
        }

    def test_a_request_that_has_ended_is_gone(self, folder: Path, journal: Journal) -> None:
        slots = [journal.begin(entry(number)) for number in range(3)]
        for slot in slots:
            slot.dispatch()
        slots[1].use(USAGE)
        slots[1].clear()
        assert journal.in_use == 2
        die(journal)
        assert list(left(folder)) == [entry(0).request_id, entry(2).request_id]

    def test_an_ended_request_cannot_write_into_the_next_ones_slot(
        self, folder: Path, journal: Journal
    ) -> None:
        ended = journal.begin(ENTRY)
        ended.clear()
        following = journal.begin(entry(1))
        with pytest.raises(ValueError, match="ended"):
            ended.use(USAGE)
        with pytest.raises(ValueError, match="ended"):
            ended.void()
        with pytest.raises(ValueError, match="placed"):
            ended.dispatch()
        ended.clear()
        assert journal.in_use == 1
        die(journal)
        assert left(folder) == {following.entry.request_id: (State.PLACING, None)}

    def test_a_used_request_is_not_dispatched_again(self, journal: Journal) -> None:
        slot = journal.begin(ENTRY)
        slot.use(USAGE)
        with pytest.raises(ValueError, match="placed"):
            slot.dispatch()

    def test_the_lowest_free_slot_is_taken_first(self, journal: Journal) -> None:
        slots = [journal.begin(entry(number)) for number in range(5)]
        for number in (3, 0, 2):
            slots[number].clear()
        assert [journal.begin(ENTRY).number for _ in range(4)] == [1, 3, 4, 6]
        assert path_of(journal).stat().st_size == 7 * SLOT_BYTES

    def test_no_more_requests_begin_than_there_are_slots(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tokenbalance.books.holds.journal.slots.SLOTS_MAX", 3)
        slots = [journal.begin(entry(number)) for number in range(3)]
        with pytest.raises(JournalUnavailable):
            journal.begin(ENTRY)
        assert journal.healthy
        slots[0].clear()
        journal.begin(ENTRY)

    def test_an_entry_that_leaves_no_room_for_a_usage_is_refused(self, journal: Journal) -> None:
        def begin(extra: int) -> Slot:
            return journal.begin(replace(ENTRY, endpoint=ENTRY.endpoint + "x" * extra))

        room = next(extra for extra in range(SLOT_BYTES) if not fits(begin, extra + 1))
        begin(room).use(LARGEST)
        with pytest.raises(ValueError, match="fit"):
            begin(room + 1)
        assert len(ENTRY.endpoint) + room > 100
        assert journal.healthy


def fits(begin: Callable[[int], Slot], extra: int) -> bool:
    try:
        begin(extra)
    except ValueError:
        return False
    return True
