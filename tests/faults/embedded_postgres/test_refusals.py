"""What is refused, each in one line."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.embedded import linux
from tokenbalance.postgres import (
    BinariesNotFound,
    DataFolderUnusable,
    EmbeddedPostgres,
    EmbeddedPostgresError,
    ServerNotStarted,
)
from tokenbalance.postgres.binaries import (
    find_binaries,
)

if TYPE_CHECKING:
    from pathlib import Path


def refusal(kind: type[EmbeddedPostgresError], folder: Path, pg_bin: Path | None = None) -> str:
    with pytest.raises(kind) as refused:
        EmbeddedPostgres.start_or_attach(folder, pg_bin, durable=False).stop()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_folder_of_another_major_version_is_refused(copied: Path) -> None:
    _ = (copied / "pgdata" / "PG_VERSION").write_text("12\n")
    assert "was created by Postgres 12, but" in refusal(DataFolderUnusable, copied)


def test_a_folder_that_is_no_cluster_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pgdata").mkdir()
    assert "not a Postgres cluster" in refusal(DataFolderUnusable, tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    _ = (tmp_path / "file").write_text("")
    assert "cannot create the data folder" in refusal(DataFolderUnusable, tmp_path / "file")


def test_a_server_that_ends_while_starting_says_why_and_leaves_the_folder_free(
    copied: Path,
) -> None:
    configuration = copied / "pgdata" / "postgresql.conf"
    working = configuration.read_text()
    _ = configuration.write_text("no_such_setting = 1\n")
    assert "no_such_setting" in refusal(ServerNotStarted, copied)
    _ = configuration.write_text(working)
    EmbeddedPostgres.start_or_attach(copied, exclusive=True, durable=False).stop()


def test_a_folder_without_the_programs_is_refused(tmp_path: Path) -> None:
    assert "does not contain initdb or postgres" in refusal(BinariesNotFound, tmp_path, tmp_path)


def test_an_old_postgres_is_refused(tmp_path: Path) -> None:
    for name in ("initdb", "postgres"):
        _ = (tmp_path / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 15.9 (Debian)'\n")
        (tmp_path / name).chmod(0o755)
    assert "Postgres 15.9" in refusal(BinariesNotFound, tmp_path / "data", tmp_path)


def test_pg_config_on_the_path_names_the_programs_when_there_is_no_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = find_binaries().folder
    _ = (tmp_path / "pg_config").write_text(f"#!/bin/sh\necho '{folder}'\n")
    (tmp_path / "pg_config").chmod(0o755)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binaries().folder == folder
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BinariesNotFound, match="install tokenbalance"):
        _ = find_binaries()


@linux
def test_a_thread_may_not_start_the_server(data: Path) -> None:
    # The kernel would stop the server when the thread ends.
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(refusal(EmbeddedPostgresError, data)))
    thread.start()
    thread.join()
    assert said == ["the embedded Postgres must be started from the main thread"]
