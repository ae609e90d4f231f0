"""The command in this process, or in one of its own, against the test's own database.

A Python takes a second to start, so a test runs the command in a process of its own only where
the process is the subject: the entry point, a terminal, a signal, an embedded Postgres.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import orjson
import pytest

from tokenbalance.cli import main

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-m", "tokenbalance.cli"]
TIMEOUT_S = 120
_OURS = ("OPENAI_", "DATABASE_", "TOKENBALANCE_", "HOST", "PORT", "WEB_CONCURRENCY", "LOG_")


@dataclass(frozen=True)
class Response:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Cli:
    """Runs `tokenbalance` in an empty folder, with no settings but those given."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    in_process: bool = True

    @property
    def environment(self) -> dict[str, str]:
        """The process's variables without any of ours, and the settings."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith(_OURS)}
        return {**kept, **self.settings}

    @property
    def program(self) -> Cli:
        """The same command as people run it: each call is a process of its own."""
        return replace(self, in_process=False)

    def __call__(self, *arguments: str, stdin: str | bytes = "") -> Response:
        """Run to the end."""
        return (self._call if self.in_process else self._start)(arguments, stdin)

    def _start(self, arguments: tuple[str, ...], stdin: str | bytes) -> Response:
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment,
            input=stdin if isinstance(stdin, bytes) else stdin.encode(),
            capture_output=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        return Response(done.returncode, done.stdout.decode(), done.stderr.decode())

    def _call(self, arguments: tuple[str, ...], stdin: str | bytes) -> Response:
        """Run in a thread, because commands have an event loop of their own, as tests do."""
        ended: list[Response | BaseException] = []

        def run() -> None:
            try:
                ended.append(self._run(arguments, stdin))
            except BaseException as error:  # noqa: BLE001 - raised again below, for the test to see
                ended.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(TIMEOUT_S)
        assert ended, f"{arguments} does not end"
        if isinstance(ended[0], BaseException):
            raise ended[0]
        return ended[0]

    def _run(self, arguments: tuple[str, ...], stdin: str | bytes) -> Response:
        given, out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(3))
        given.buffer.write(stdin if isinstance(stdin, bytes) else stdin.encode())
        given.seek(0)
        with (
            mock.patch.dict(os.environ, self.environment, clear=True),
            contextlib.chdir(self.folder),
            mock.patch.object(sys, "stdin", given),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = main([*arguments])
        return Response(code, *(_written(stream) for stream in (out, err)))

    def json(self, *arguments: str, stdin: str = "") -> Any:
        """Run with `--json`; the command must succeed and say nothing else."""
        response = self(*arguments, "--json", stdin=stdin)
        assert (response.code, response.err) == (0, "")
        return orjson.loads(response.out)

    def refused(self, *arguments: str) -> str:
        """Run what must fail with exit code 1 and one line; gives the line."""
        response = self(*arguments)
        assert (response.code, response.out, response.err.count("\n")) == (1, "", 1), response
        return response.err


def _written(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


@pytest.fixture
def cli(dsn: str, tmp_path: Path) -> Cli:
    """The command, on a migrated database of the test's own."""
    return Cli(tmp_path, {"DATABASE_URL": dsn, "TOKENBALANCE_DATA_DIR": str(tmp_path / "data")})
