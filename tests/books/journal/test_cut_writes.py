"""Writes of which only a part reached the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.journals import ENTRY, LARGEST, USAGE, adopt_text, entry
from tokenbalance.books.holds.journal import (
    SLOT_BYTES,
    State,
)
from tokenbalance.books.holds.journal.lines import FREED, header_line, read_slot, slot_line

if TYPE_CHECKING:
    from pathlib import Path


def freed(line: bytes) -> bytes:
    return FREED + line[len(FREED) :]


PLACING = slot_line(ENTRY, (State.PLACING, None))


DISPATCHED = b"d" + PLACING[1:]


USED = slot_line(ENTRY, (State.USED, USAGE))


VOIDED = slot_line(ENTRY, (State.VOID, None))


USED_BEFORE = slot_line(entry(1), (State.USED, LARGEST))


WRITES = {
    "begin at the end": (b"", PLACING),
    "begin in a blank slot": (b" " * 511 + b"\n", PLACING),
    "begin after a longer one": (freed(USED_BEFORE), PLACING),
    "begin after a shorter one": (freed(PLACING), slot_line(entry(2), (State.PLACING, None))),
    "begin after a voided one": (freed(VOIDED), PLACING),
    "use": (DISPATCHED, USED),
    "use again": (USED, slot_line(ENTRY, (State.USED, LARGEST))),
    "void what was being placed": (PLACING, VOIDED),
    "void what was dispatched": (DISPATCHED, VOIDED),
    "void what was used": (USED, VOIDED),
    "clear": (USED, FREED),
    "clear what was voided": (VOIDED, FREED),
}


class TestAWriteThatWasCut:
    @pytest.mark.parametrize(("before", "write"), WRITES.values(), ids=WRITES)
    def test_at_any_byte_reads_as_before_as_after_or_as_corrupt(
        self, before: bytes, write: bytes
    ) -> None:
        seen = [_read_line(write[:cut] + before[cut:]) for cut in range(len(write) + 1)]
        old, new = _read_line(before), _read_line(write + before[len(write) :])
        assert seen[0] == old
        assert seen[-1] == new
        assert all(reading in {old, new, "corrupt"} for reading in seen)

    def test_at_any_byte_of_a_usage_hides_no_neighbour(self, folder: Path) -> None:
        header = header_line("any boot", 1)
        for cut in range(0, SLOT_BYTES + 1, 16):
            torn = USED[:cut] + DISPATCHED[cut:]
            abandoned = adopt_text(folder, header + USED_BEFORE + torn + USED_BEFORE)
            abandoned.done()
            assert len(abandoned.requests) + abandoned.corrupt == 3
            assert abandoned.requests[0] == abandoned.requests[-1]

    def test_a_usage_of_which_only_the_end_was_written_is_corrupt_or_whole(self) -> None:
        seen = {_read_line(DISPATCHED[:cut] + USED[cut:]) for cut in range(SLOT_BYTES + 1)}
        assert seen == {_read_line(DISPATCHED), _read_line(USED), "corrupt"}

    @pytest.mark.parametrize("before", [PLACING, VOIDED], ids=["placing", "void"])
    def test_at_any_byte_of_a_usage_leaves_at_worst_a_dispatched_request(
        self, before: bytes
    ) -> None:
        seen = {_read_line(USED[:cut] + before[cut:]) for cut in range(SLOT_BYTES + 1)}
        assert seen == {
            _read_line(before),
            _read_line(DISPATCHED),
            _read_line(USED),
            "corrupt",
        }

    def test_one_flipped_bit_behind_the_state_is_always_seen(self) -> None:
        for at in range(1, SLOT_BYTES):
            line = bytearray(USED)
            line[at] ^= 1 << at % 8
            assert _read_line(bytes(line)) == "corrupt"


def _read_line(line: bytes) -> object:
    if line[:1] in {b"", b" "}:
        return "free"
    return read_slot(line) or "corrupt"
