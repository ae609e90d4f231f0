from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import threading
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenbalance.books.holds.journal import (
    SLOT_BYTES,
    Entry,
    Journal,
    JournalUnavailable,
    State,
    Unfinished,
    files,
)
from tokenbalance.books.holds.journal.lines import FREED, header_line, read_slot, slot_line
from tokenbalance.model import Usage
from tokenbalance.openai.metering.usage import COUNT_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tokenbalance.books.holds.journal import Abandoned, Slot

DEADLINE_S = 20.0
ENTRY = Entry("tb_019ab3f0c2d1a1b2c3d4e5f6a7b8c9d0", 7, 9, "/chat/completions")
USAGE = Usage(input=12, cached_input=4, output=345, reasoning=300, total=357)
LARGEST = Usage(*[COUNT_MAX] * 9, estimated=False)


def entry(number: int) -> Entry:
    return Entry(f"tb_{number:032}", number, number + 1, "/responses")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "journal"


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    journal = Journal.open(folder)
    yield journal
    journal.close()


def die(journal: Journal) -> None:
    """End as a killed process does: the kernel closes its files, nothing else happens."""
    if journal._slots.file.descriptor >= 0:
        journal._slots.file.close()
    journal._closed = True


def path_of(journal: Journal) -> Path:
    return journal._slots.file.path


def remains(folder: Path) -> Abandoned:
    """What the only dead process in the folder left."""
    with_own_file = Journal.open(folder)
    (abandoned,) = with_own_file.adopt()
    with_own_file.close()
    return abandoned


def left(folder: Path) -> dict[str, tuple[State, Usage | None]]:
    abandoned = remains(folder)
    abandoned.leave()
    return {found.entry.request_id: (found.state, found.usage) for found in abandoned.requests}


def adopt_text(folder: Path, text: bytes) -> Abandoned:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "1-dead.journal").write_bytes(text)
    return remains(folder)


def sealed(state: bytes, payload: bytes) -> bytes:
    """A line by the file's description, not by the code that writes it."""
    text = payload + b" " * (500 - len(payload)) + b"\n"
    return state + b" " + f"{zlib.crc32(text):08x}".encode() + b" " + text


def refuse(journal: Journal) -> None:
    """Let every write meet a full device."""
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, journal._slots.file.descriptor, inheritable=False)
    os.close(full)


full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


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
        for number, usage in enumerate((USAGE, LARGEST, Usage(total=3, estimated=True))):
            slot = journal.begin(entry(number))
            slot.dispatch()
            slot.use(usage)
        die(journal)
        assert [usage for _, usage in left(folder).values()] == [
            USAGE,
            LARGEST,
            Usage(total=3, estimated=True),
        ]

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


class TestTheFile:
    def test_only_its_owner_may_read_it(self, folder: Path, journal: Journal) -> None:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(path_of(journal).stat().st_mode) == 0o600

    def test_a_person_can_read_it(self, journal: Journal) -> None:
        journal.begin(ENTRY).use(USAGE)
        header, line, end = path_of(journal).read_bytes().split(b"\n")
        assert header.startswith(b"h ")
        assert f'"pid":{os.getpid()}'.encode() in header
        payload = (
            b'{"entry":{"request_id":"tb_019ab3f0c2d1a1b2c3d4e5f6a7b8c9d0","account_id":7,'
            b'"key_id":9,"endpoint":"/chat/completions"},"usage":{"input":12,"cached_input":4,'
            b'"output":345,"reasoning":300,"audio_input":0,"audio_output":0,"image_input":0,'
            b'"image_output":0,"total":357,"estimated":false}}'
        )
        # Another payload needs another VERSION: files are read by later releases.
        assert line + b"\n" == sealed(b"u", payload)
        assert end == b""

    def test_a_file_of_the_first_version_is_read(self, folder: Path) -> None:
        text = (
            sealed(b"h", b'{"format":"tokenbalance journal","version":1,"boot_id":null,"pid":1}')
            + sealed(
                b"d",
                b'{"entry":{"request_id":"a","account_id":1,"key_id":2,"endpoint":"/e"},'
                b'"usage":null}',
            )
            + b" " * 511
            + b"\n"
            + sealed(
                b"v",
                b'{"entry":{"request_id":"b","account_id":3,"key_id":4,"endpoint":"/e"},'
                b'"usage":null}',
            )
            + sealed(
                b"u",
                b'{"entry":{"request_id":"c","account_id":5,"key_id":6,"endpoint":"/e"},'
                b'"usage":{"input":12,"cached_input":4,"output":345,"reasoning":300,'
                b'"audio_input":0,"audio_output":0,"total":357,"estimated":false}}',
            )
        )
        abandoned = adopt_text(folder, text)
        abandoned.done()
        assert abandoned.requests == (
            Unfinished(Entry("a", 1, 2, "/e"), State.DISPATCHED, None, same_boot=False),
            Unfinished(Entry("b", 3, 4, "/e"), State.VOID, None, same_boot=False),
            Unfinished(Entry("c", 5, 6, "/e"), State.USED, USAGE, same_boot=False),
        )
        assert abandoned.corrupt == 0

    def test_it_is_removed_when_no_request_is_in_progress(self, folder: Path) -> None:
        journal = Journal.open(folder)
        journal.begin(ENTRY).clear()
        journal.close()
        journal.close()
        assert list(folder.iterdir()) == []

    def test_it_is_left_when_a_request_is_in_progress(self, folder: Path) -> None:
        journal = Journal.open(folder)
        journal.begin(ENTRY).use(USAGE)
        journal.close()
        assert left(folder) == {ENTRY.request_id: (State.USED, USAGE)}

    def test_a_closed_journal_takes_nothing_and_harms_no_other_file(self, folder: Path) -> None:
        journal = Journal.open(folder)
        descriptor = journal._slots.file.descriptor
        slot, other = journal.begin(ENTRY), journal.begin(entry(1))
        journal.close()
        heir = os.open(folder / "something else", os.O_RDWR | os.O_CREAT)
        try:
            assert heir == descriptor
            with pytest.raises(JournalUnavailable):
                slot.use(USAGE)
            with pytest.raises(JournalUnavailable):
                journal.begin(ENTRY)
            other.clear()
            assert not journal.healthy
            assert os.fstat(heir).st_size == 0
        finally:
            os.close(heir)

    def test_a_folder_that_cannot_be_made_is_said_so(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(JournalUnavailable, match="cannot be opened"):
            Journal.open(tmp_path / "file" / "journal")

    def test_it_and_its_folder_are_on_the_disk_before_it_is_used(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flushed: list[str] = []

        def note(name: str) -> Callable[[int], None]:
            return lambda descriptor: flushed.append(
                f"{name} {'folder' if stat.S_ISDIR(os.fstat(descriptor).st_mode) else 'file'}"
            )

        monkeypatch.setattr(os, "fdatasync", note("fdatasync"))
        monkeypatch.setattr(os, "fsync", note("fsync"))
        journal = Journal.open(folder)
        assert flushed == ["fdatasync file", "fsync folder"]
        journal.close()

    def test_no_flush_happens_on_the_way_of_a_request(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fdatasync", fail)
        monkeypatch.setattr(os, "fsync", fail)
        slot = journal.begin(ENTRY)
        slot.dispatch()
        slot.use(USAGE)
        slot.clear()
        slot = journal.begin(ENTRY)
        slot.void()
        slot.clear()
        assert journal.healthy


def fail(_descriptor: int) -> None:
    raise OSError(errno.EIO, "Input/output error")


class TestAdopting:
    def test_files_in_use_are_nobodys(self, folder: Path, journal: Journal) -> None:
        other = Journal.open(folder)
        journal.begin(ENTRY)
        assert other.adopt() == []
        assert journal.adopt() == []
        other.close()

    def test_a_file_is_adopted_once(self, folder: Path, journal: Journal) -> None:
        dead = Journal.open(folder)
        die(dead)
        (abandoned,) = journal.adopt()
        assert journal.adopt() == []
        abandoned.leave()
        (again,) = journal.adopt()
        again.done()
        assert journal.adopt() == []
        assert list(folder.iterdir()) == [path_of(journal)]

    def test_a_file_that_was_let_go_is_not_this_processs_to_remove(
        self, folder: Path, journal: Journal
    ) -> None:
        die(Journal.open(folder))
        (abandoned,) = journal.adopt()
        abandoned.leave()
        abandoned.leave()
        abandoned.done()
        abandoned.keep("too late")
        (again,) = journal.adopt()
        assert again.path == abandoned.path
        again.done()
        again.leave()
        assert not again.path.exists()

    def test_a_file_put_aside_is_never_adopted_again(
        self, folder: Path, journal: Journal, caplog: pytest.LogCaptureFixture
    ) -> None:
        dead = Journal.open(folder)
        dead.begin(ENTRY)
        text = path_of(dead).read_bytes()
        die(dead)
        (abandoned,) = journal.adopt()
        abandoned.keep("the books know none of its requests")
        abandoned.done()
        assert journal.adopt() == []
        (aside,) = folder.glob("*.unmatched")
        assert aside.read_bytes() == text
        assert "the books know none of its requests" in caplog.text

    def test_a_file_that_was_replaced_while_it_was_locked_is_not_taken(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "1.journal"
        path.touch()
        opened = os.open(path, os.O_RDWR)
        (tmp_path / "new").touch()
        (tmp_path / "new").rename(path)
        assert not files._lock(opened, path)
        path.unlink()
        assert not files._lock(opened, path)
        os.close(opened)

    @pytest.mark.parametrize(
        ("now", "same"), [("another boot\n", False), (None, False), ("then\n", True)]
    )
    def test_the_machines_boot_is_compared(
        self,
        folder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        now: str | None,
        same: bool,
    ) -> None:
        boot_id = tmp_path / "boot_id"
        boot_id.write_text("then\n")
        monkeypatch.setattr(files, "_BOOT_ID", boot_id)
        dead = Journal.open(folder)
        dead.begin(ENTRY)
        die(dead)
        if now is None:
            boot_id.unlink()
        else:
            boot_id.write_text(now)
        abandoned = remains(folder)
        abandoned.done()
        assert [found.same_boot for found in abandoned.requests] == [same]

    def test_a_boot_that_was_unknown_is_never_the_same(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(files, "_BOOT_ID", tmp_path / "none")
        dead = Journal.open(folder)
        dead.begin(ENTRY)
        die(dead)
        abandoned = remains(folder)
        abandoned.done()
        assert [found.same_boot for found in abandoned.requests] == [False]

    @pytest.mark.parametrize(
        "header",
        [
            b'{"format":"tokenbalance journal","version":3,"boot_id":null,"pid":1}',
            b'{"format":"tokenbalance journal","version":0,"boot_id":null,"pid":1}',
            b'{"format":"something else","version":2,"boot_id":null,"pid":1}',
            b'{"anything":[]}',
        ],
    )
    def test_an_unknown_version_is_left_alone_and_told_once(
        self, folder: Path, journal: Journal, header: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = folder / "1-dead.journal"
        path.write_bytes(sealed(b"h", header) + b"whatever")
        before = len(list(Path("/dev/fd").iterdir()))
        for _ in range(3):
            assert journal.adopt() == []
        assert len(list(Path("/dev/fd").iterdir())) == before
        assert path.exists()
        assert caplog.text.count("its format is unknown") == 1

    def test_what_cannot_be_opened_does_not_hide_the_others(
        self, folder: Path, journal: Journal, caplog: pytest.LogCaptureFixture
    ) -> None:
        (folder / "0.journal").mkdir()
        dead = Journal.open(folder)
        die(dead)
        (abandoned,) = journal.adopt()
        abandoned.done()
        assert "0.journal is left alone" in caplog.text

    @pytest.mark.parametrize("text", [b"", b"h", b"\0" * 512, b"x" * 1000])
    def test_a_file_without_a_header_is_read_as_far_as_it_goes(
        self, folder: Path, text: bytes
    ) -> None:
        abandoned = adopt_text(folder, text)
        abandoned.done()
        assert abandoned.requests == ()
        assert abandoned.corrupt >= 1

    def test_a_damaged_header_hides_no_request(self, folder: Path, journal: Journal) -> None:
        journal.begin(ENTRY).use(USAGE)
        text = bytearray(path_of(journal).read_bytes())
        text[20] ^= 1
        abandoned = adopt_text(folder, bytes(text))
        abandoned.done()
        expected = Unfinished(ENTRY, State.USED, USAGE, same_boot=False)
        assert abandoned.requests == (expected,)
        assert abandoned.corrupt == 1

    @pytest.mark.parametrize(
        "line",
        [
            sealed(b"x", b'{"entry":{"request_id":"a","account_id":1,"key_id":2,"endpoint":"/"}}'),
            sealed(b"d", b'{"entry":{"request_id":"a"},"usage":null}'),
            sealed(b"d", b"[]"),
            sealed(b"d", b"\xff"),
            sealed(
                b"u",
                b'{"entry":{"request_id":"a","account_id":1,"key_id":2,"endpoint":"/"},'
                b'"usage":{"total":"5"}}',
            ),
            b"\0" * 512,
            b"d",
        ],
    )
    def test_a_line_that_cannot_be_read_is_counted_and_hides_no_other(
        self, folder: Path, journal: Journal, line: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        journal.begin(ENTRY)
        header, good = (
            path_of(journal).read_bytes()[at : at + SLOT_BYTES] for at in (0, SLOT_BYTES)
        )
        abandoned = adopt_text(folder, header + good + line.ljust(SLOT_BYTES) + good + line)
        abandoned.done()
        assert [found.entry for found in abandoned.requests] == [ENTRY, ENTRY]
        assert abandoned.corrupt == 2
        assert "2 lines that cannot be read" in caplog.text

    def test_what_a_process_left_half_made_is_removed(self, folder: Path, journal: Journal) -> None:
        (folder / "1-dead.new").touch()
        alive = files.LockedFile.create(folder)
        journal.adopt()
        assert sorted(folder.iterdir()) == sorted([alive.path, path_of(journal)])
        alive.discard()


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
