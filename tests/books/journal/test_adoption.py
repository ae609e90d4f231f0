"""Adopting the files of dead processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.journals import ENTRY, USAGE, adopt_text, die, path_of, remains, sealed
from tokenbalance.books.holds.journal import (
    SLOT_BYTES,
    Journal,
    State,
    Unfinished,
    files,
)
from tokenbalance.disk import locked


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
        assert not locked._lock(opened, path)
        path.unlink()
        assert not locked._lock(opened, path)
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
        monkeypatch.setattr(locked, "_BOOT_ID", boot_id)
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
        monkeypatch.setattr(locked, "_BOOT_ID", tmp_path / "none")
        dead = Journal.open(folder)
        dead.begin(ENTRY)
        die(dead)
        abandoned = remains(folder)
        abandoned.done()
        assert [found.same_boot for found in abandoned.requests] == [False]

    @pytest.mark.parametrize(
        "header",
        [
            b'{"format":"tokenbalance journal","version":6,"boot_id":null,"pid":1}',
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
            sealed(
                b"u",
                b'{"entry":{"request_id":"a","account_id":1,"key_id":2,"endpoint":"/e"},'
                b'"usage":{"input":true,"total":5}}',
            ),
            sealed(
                b"u",
                b'{"entry":{"request_id":"a","account_id":1,"key_id":2,"endpoint":"/e"},'
                b'"usage":{"input":5,"total":5,"estimated":1}}',
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
        alive = files.SlotsFile.create(folder)
        journal.adopt()
        assert sorted(folder.iterdir()) == sorted([alive.path, path_of(journal)])
        alive.discard()
