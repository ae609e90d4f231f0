"""The command as people run it: a process of its own, against the test's own database."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
import pytest

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

    @property
    def environment(self) -> dict[str, str]:
        """The process's variables without any of ours, and the settings."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith(_OURS)}
        return {**kept, **self.settings}

    def __call__(self, *arguments: str, stdin: str = "") -> Response:
        """Run to the end."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            check=False,
            encoding="utf-8",
            timeout=TIMEOUT_S,
        )
        return Response(done.returncode, done.stdout, done.stderr)

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


@pytest.fixture
def cli(dsn: str, tmp_path: Path) -> Cli:
    """The command, on a migrated database of the test's own."""
    return Cli(tmp_path, {"DATABASE_URL": dsn, "TOKENBALANCE_DATA_DIR": str(tmp_path / "data")})
