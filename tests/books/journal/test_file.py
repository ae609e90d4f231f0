"""The file of a journal: its format, its lock, and its end."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from tests.support.journals import ENTRY, USAGE, adopt_text, entry, fail, left, path_of, sealed
from tokenbalance.books.holds.journal import (
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
            b'"output":345,"reasoning":300,"total":357,"estimated":false}}'
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

    def test_a_file_of_the_second_version_is_read(self, folder: Path) -> None:
        text = sealed(
            b"h", b'{"format":"tokenbalance journal","version":2,"boot_id":null,"pid":1}'
        ) + sealed(
            b"u",
            b'{"entry":{"request_id":"c","account_id":5,"key_id":6,"endpoint":"/e"},'
            b'"usage":{"input":12,"cached_input":4,"output":345,"reasoning":300,'
            b'"audio_input":0,"audio_output":0,"image_input":8,"image_output":0,'
            b'"total":357,"estimated":true}}',
        )
        abandoned = adopt_text(folder, text)
        abandoned.done()
        usage = Usage({**USAGE.quantities, "image_input": 8}, 357, estimated=True)
        (found,) = abandoned.requests
        assert (found.state, found.usage) == (State.USED, usage)

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
