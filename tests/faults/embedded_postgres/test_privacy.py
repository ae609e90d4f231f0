"""What others must not reach or read: ports, secrets, sockets, logs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.support.embedded import Process, fetch, linux, mode_of, postgres_processes
from tokenbalance.postgres import (
    EmbeddedPostgres,
)
from tokenbalance.postgres.account import Account
from tokenbalance.postgres.socket_folder import clear_left_folder, private_folder

if TYPE_CHECKING:
    from collections.abc import Callable


@linux
def test_nothing_listens_on_tcp(data: Path) -> None:
    with EmbeddedPostgres.start_or_attach(data, durable=False) as server:
        mine = {
            link.readlink().name
            for process in postgres_processes(data)
            for link in Path(f"/proc/{process}/fd").iterdir()
        }
        listening = {
            f"socket:[{line.split()[9]}]"
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        }
        assert any(name.startswith("socket:") for name in mine)
        assert not mine & listening
        assert mode_of(server.socket_folder) == 0o700
        assert mode_of(server.socket_folder / ".s.PGSQL.5432") == 0o600


@linux
def test_the_server_knows_none_of_our_secrets(data: Path, start: Callable[..., Process]) -> None:
    secret = "sk-of-the-operator"
    _ = start(data, "serve", OPENAI_API_KEY=secret).ready()
    for process in postgres_processes(data):
        assert secret.encode() not in Path(f"/proc/{process}/environ").read_bytes()


def test_a_left_socket_folder_is_removed_only_while_it_is_still_ours(tmp_path: Path) -> None:
    me = Account(os.geteuid(), os.getegid())
    folder = private_folder(me)
    link = tmp_path / "tokenbalance-link"
    link.symlink_to(folder)
    clear_left_folder(link, me)
    clear_left_folder(folder, Account(me.uid + 1, me.gid))
    folder.chmod(0o777)
    clear_left_folder(folder, me)
    assert folder.is_dir()
    assert link.is_symlink()
    folder.chmod(0o700)
    clear_left_folder(folder, me)
    assert not folder.exists()


def test_a_killed_owner_leaves_no_socket_folders_behind(
    data: Path, start: Callable[..., Process]
) -> None:
    serve = start(data, "serve")
    _, dsn = serve.ready()
    left = Path(dsn.partition("?host=")[2].partition("&")[0])
    serve.kill()
    assert left.is_dir()
    EmbeddedPostgres.start_or_attach(data, durable=False).stop()
    assert not left.exists()


async def test_what_a_statement_says_stays_out_of_the_log(data: Path) -> None:
    with EmbeddedPostgres.start_or_attach(data, durable=False) as server:
        with pytest.raises(asyncpg.PostgresError):
            _ = await fetch(server.dsn, "SELECT 'secret words'::int")
        assert "secret" not in (data / "postgres.log").read_text()


def test_the_log_does_not_grow_for_ever(data: Path) -> None:
    log = data / "postgres.log"
    _ = log.write_bytes(b"x" * (1 << 20) + b"y")
    EmbeddedPostgres.start_or_attach(data, durable=False).stop()
    assert log.stat().st_size < 10_000
    assert (data / "postgres.log.1").stat().st_size == (1 << 20) + 1
