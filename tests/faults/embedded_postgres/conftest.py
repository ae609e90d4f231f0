"""A data folder with a cluster, and processes on it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.embedded import PACKAGES, PROCESS, Process, python_for
from tests.support.postgres import start_cluster
from tokenbalance.postgres.account import give, server_account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Start processes, and let none of them outlive the test."""
    with contextlib.ExitStack() as processes:

        def start_process(
            folder: Path, role: str, *more: str, user: int | None = None, **environment: str
        ) -> Process:
            popen = subprocess.Popen(
                [
                    sys.executable if user is None else python_for(user),
                    "-c",
                    PROCESS,
                    str(folder),
                    role,
                    *more,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
                env=os.environ | {"PYTHONPATH": PACKAGES} | environment,
            )
            _ = processes.enter_context(popen)
            process = Process(popen)
            _ = processes.callback(process.end)
            return process

        yield start_process


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with a cluster, made once: the tests may kill its server, not damage it."""
    folder = tmp_path_factory.mktemp("made")
    start_cluster(folder).stop()
    yield folder / "postgres"
    # Takes away what the last killed server left.
    start_cluster(folder).stop()


@pytest.fixture
def data(made: Path, start: Callable[..., Process]) -> Path:
    """The shared data folder; `start` is named so that its processes end before the next test."""
    _ = start
    return made


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """A copy of the data folder, for damaging."""
    folder = tmp_path / "copied"
    _ = shutil.copytree(made, folder)
    give(folder / "pgdata", server_account(made))
    return folder
