"""Folders, users and programs: long paths, closed homes, the code of the wheel."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.embedded import (
    SOURCE,
    Process,
    as_root,
    fetch,
    linux,
    mode_of,
    owner_of,
    postmaster,
)
from tokenbalance.postgres import (
    EmbeddedPostgres,
)
from tokenbalance.postgres.account import SERVER_UID
from tokenbalance.postgres.binaries import (
    WHEEL,
    Binaries,
    find_binaries,
    reachable_binaries,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def home() -> Iterator[Path]:
    """A home like root's, closed to everybody else, outside pytest's own folders."""
    folder = Path(tempfile.mkdtemp(prefix="home of "))
    yield folder
    shutil.rmtree(folder)


@linux
async def test_a_long_path_with_spaces_below_a_closed_home_works(home: Path) -> None:
    folder = home / "with a space" / ("long " * 30)
    assert len(str(folder)) > 150
    with EmbeddedPostgres.start_or_attach(folder, durable=False) as server:
        assert await fetch(server.dsn, "SELECT current_database()") == "tokenbalance"
        user = SERVER_UID if os.geteuid() == 0 else os.geteuid()
        assert owner_of(Path(f"/proc/{postmaster(folder)}")) == user
    assert mode_of(home) == 0o700
    assert mode_of(folder) == 0o700


@as_root
@linux
def test_a_plain_user_serves_and_root_joins_and_takes_over(
    home: Path, start: Callable[..., Process]
) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(home, nobody, nobody)
    serve = start(home / "data", "serve", user=nobody, HOME=str(home))
    owned, dsn = serve.ready()
    assert owned
    assert owner_of(Path(f"/proc/{postmaster(home / 'data')}")) == nobody
    beside = start(home / "data", "command")
    assert beside.ready() == (False, dsn)
    beside.stop()
    serve.stop()
    # Root makes nothing that would lock the user out afterwards.
    command = start(home / "data", "command")
    assert command.ready()[0]
    command.stop()
    serve = start(home / "data", "serve", user=nobody, HOME=str(home))
    assert serve.ready()[0]
    serve.stop()


@pytest.fixture
def closed(home: Path) -> Iterator[Binaries]:
    """The wheel's programs, installed below a closed home."""
    binaries = find_binaries()
    if binaries.wheel is None:
        pytest.skip("the programs are not those of the wheel")
    for name in (WHEEL, f"{WHEEL}.libs"):
        _ = shutil.copytree(
            binaries.wheel.parent.parent / name,
            home / name,
            ignore=shutil.ignore_patterns("include", "pginstall", "__pycache__"),
            symlinks=True,
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(home), *sys.path])
        yield find_binaries()


@pytest.fixture
def cache() -> Iterator[Path]:
    """A folder that everybody can pass, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "programs"


@as_root
async def test_programs_in_a_closed_home_are_copied_to_where_the_server_can_run_them(
    home: Path, data: Path, closed: Binaries, cache: Path
) -> None:
    assert closed.folder.is_relative_to(home)
    programs = reachable_binaries(closed, SERVER_UID, cache)
    assert programs.folder.is_relative_to(cache)
    assert reachable_binaries(closed, SERVER_UID, cache) == programs
    assert len(os.listdir(cache)) == 1, "one copy, and nothing half-made"  # noqa: PTH208 - a folder of one
    with EmbeddedPostgres.start_or_attach(data, programs.folder, durable=False) as server:
        assert await fetch(server.dsn, "SELECT 1") == 1
    assert mode_of(home) == 0o700


def test_the_wheels_own_code_never_runs() -> None:
    code = (
        "import sys; from tokenbalance.postgres.binaries import find_binaries as find;"
        f"assert find().wheel; sys.exit(any(name.startswith('{WHEEL}') for name in sys.modules))"
    )
    environment = os.environ | {"PYTHONPATH": SOURCE}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )
