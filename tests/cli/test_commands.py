"""The list of commands, and what a call imports."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.cli.conftest import TIMEOUT_S, Cli
from tokenbalance.cli.commands import app, imported

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = (
    "import json, sys; from tokenbalance.cli import main; code = main(sys.argv[1:]);"
    " print(json.dumps([code, *sys.modules]), file=sys.stderr)"
)
OF_A_SERVER = {"alembic", "fastapi", "jinja2", "starlette", "tiktoken", "uvicorn", "uvloop"}
OF_A_DATABASE = {"asyncpg", "sqlalchemy"}


def imports_of(folder: Path, *arguments: str) -> set[str]:
    """The modules that a process has imported after a command that succeeds."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env=Cli(folder).environment,
        capture_output=True,
        check=True,
        timeout=TIMEOUT_S,
    )
    code, *modules = orjson.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr
    return set(modules)


def test_help_imports_no_command(tmp_path: Path) -> None:
    modules = imports_of(tmp_path, "--help")
    assert {name for name in modules if name.startswith("tokenbalance")} == {
        "tokenbalance",
        "tokenbalance.cli",
        "tokenbalance.cli.commands",
    }
    assert not modules & (OF_A_SERVER | OF_A_DATABASE | {"pydantic", "orjson", "rich"})


def test_a_command_imports_what_it_uses(tmp_path: Path) -> None:
    modules = imports_of(tmp_path, "models", "list", "--json")
    assert not modules & (OF_A_SERVER | OF_A_DATABASE | {"rich"})
    assert not imports_of(tmp_path, "key", "--help") & (OF_A_SERVER | {"rich"})
    modules = imports_of(tmp_path, "rates", "propose", "--help")
    assert not modules & (OF_A_SERVER | OF_A_DATABASE | {"genai_prices", "rich"})
    modules = imports_of(tmp_path, "rates", "propose", "--models", "o3")
    assert not modules & (OF_A_SERVER | OF_A_DATABASE | {"rich"})


def test_commands_are_listed_with_all_that_their_first_paragraph_says(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    listed = " ".join(cli("--help").out.split())
    assert "Serve the proxy, with DATABASE_URL or an embedded Postgres." in listed
    listed = " ".join(cli("key", "--help").out.split())
    assert "Revoke a key and all keys that were made with it, at once and for good." in listed
    listed = " ".join(cli("team", "member", "--help").out.split())
    assert "Suspend a member and the member's keys of the team, at once; service keys" in listed


@pytest.mark.parametrize("name", app.commands)
def test_what_is_listed_of_a_command_is_what_it_says_of_itself(name: str) -> None:
    said, listed = imported(name).help, app.commands[name].help
    assert said is not None
    assert said.split("\n\n")[0].replace("\n", " ") == listed
