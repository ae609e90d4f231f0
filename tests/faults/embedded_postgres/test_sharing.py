"""Several processes on one data folder: who owns the server, and who stops it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.support.embedded import DEADLINE_S, Process, fetch, wait_until
from tokenbalance.postgres import (
    EmbeddedPostgres,
)
from tokenbalance.postgres.connection import can_connect
from tokenbalance.postgres.ownership import Note, Ownership, Role

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_second_serve_is_refused_in_one_line(data: Path, start: Callable[..., Process]) -> None:
    first = start(data, "serve")
    _ = first.ready()
    second = start(data, "serve")
    _, said = second.popen.communicate(timeout=DEADLINE_S)
    assert second.popen.returncode == 1
    assert said == f"{data} is already in use by `serve` (pid {first.popen.pid})\n"
    assert first.popen.poll() is None


async def test_a_command_beside_serve_uses_its_server_and_leaves_it_running(
    data: Path, start: Callable[..., Process]
) -> None:
    _, dsn = start(data, "serve").ready()
    with EmbeddedPostgres.start_or_attach(data) as server:
        assert not server.owned
        assert server.dsn == dsn
        assert await fetch(server.dsn, "SELECT 1") == 1
    assert await fetch(dsn, "SELECT 1") == 1


def test_a_command_waits_for_a_serve_that_is_still_starting(
    tmp_path: Path, start: Callable[..., Process]
) -> None:
    serve = start(tmp_path, "serve")
    wait_until((tmp_path / "owner.lock").exists, "serve has begun")
    wait_until(lambda: [*tmp_path.glob("pgdata.new-*")], "initdb is at work")
    with EmbeddedPostgres.start_or_attach(tmp_path) as server:
        assert not server.owned
    assert serve.ready()[0]


def test_a_command_that_owns_the_server_stops_it_at_its_end(data: Path) -> None:
    server = EmbeddedPostgres.start_or_attach(data, durable=False)
    assert server.owned
    server.stop()
    server.stop()
    assert not server.socket_folder.exists()
    assert not (data / "pgdata" / "postmaster.pid").exists()


async def test_the_first_command_stops_the_server_only_after_the_second_has_ended(
    data: Path, start: Callable[..., Process]
) -> None:
    first = start(data, "command")
    assert first.ready()[0]
    second = start(data, "command")
    owned, dsn = second.ready()
    assert not owned
    first.tell_to_stop()
    ownership = Ownership(data)
    wait_until(lambda: (note := ownership.read()) and note.leaving, "the first command leaves")
    ownership.close()
    assert await fetch(dsn, "SELECT 1") == 1
    second.stop()
    assert first.popen.wait(DEADLINE_S) == 0


def test_serve_waits_for_a_command_instead_of_failing(
    data: Path, start: Callable[..., Process]
) -> None:
    command = start(data, "command")
    assert command.ready()[0]
    serve = start(data, "serve")
    command.stop()
    assert serve.ready()[0]


def test_serve_stops_its_server_whoever_uses_it(data: Path, start: Callable[..., Process]) -> None:
    serve = start(data, "serve")
    _ = serve.ready()
    with EmbeddedPostgres.start_or_attach(data) as server:
        serve.stop()
        assert not can_connect(server.socket_folder)


def test_a_command_does_not_join_a_server_that_is_about_to_stop(tmp_path: Path) -> None:
    leaving, coming = Ownership(tmp_path), Ownership(tmp_path)
    assert leaving.acquire()
    assert coming.join()
    leaving.write(Note(os.getpid(), Role.COMMAND, "/nowhere", leaving=True))
    assert not leaving.is_alone()
    note = coming.read()
    assert note is not None
    assert note.leaving
    coming.leave()
    assert leaving.is_alone()
    assert not coming.join()
    leaving.close()
    assert coming.acquire()
    coming.close()
