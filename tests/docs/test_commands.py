"""The commands of the pages are run as they stand, in their order, against one sandbox.

A block that cannot be is marked in the source, on the line above: `<!-- not run: reason -->`. What
the README shows is run by `tests/recipes`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.docs.pages import DOCS, ROOT, Page
from tests.support.server_process import serving_process
from tokenbalance.books.ledger.credits import Cause, grant
from tokenbalance.database.connections import open_sessions
from tokenbalance.people.keys import create_key
from tokenbalance.people.users import create_user
from tokenbalance.postgres.binaries import find_binaries

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PAGES = [Page(ROOT / "CONTRIBUTING.md"), *map(Page, sorted(DOCS.glob("*.md")))]
ADDRESS = "http://127.0.0.1:8000"
LIMIT_S = 300.0
# As the README's first steps leave it, and the first lines of `docs/use.md`.
BEFORE = """
export OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=$TOKENBALANCE_KEY
"""
FOREIGN = ("OPENAI_", "DATABASE_", "TOKENBALANCE_", "LOG_", "HOST", "PORT", "PG", "COV_")


@pytest.mark.timeout(LIMIT_S + 60)
async def test_the_commands_of_the_pages_run(tmp_path: Path) -> None:
    environment = _environment(tmp_path)
    async with serving_process(tmp_path, environment, "--sandbox") as server:
        dsn = _embedded_dsn(tmp_path / "data")
        environment |= {
            "DATABASE_URL": dsn,
            "TOKENBALANCE_KEY": await _superuser(dsn),
            "RESTORED_URL": dsn.replace("/tokenbalance?", "/tokenbalance_restored?"),
        }
        script = _script().replace(ADDRESS, server.url)
        output = await asyncio.to_thread(_run, script, tmp_path, environment)
        assert output.endswith("\n@@ end\n"), f"{server.url}\n{output[-4000:]}"
        # `curl` succeeds with any status.
        assert "missing_scope" not in output


async def _superuser(dsn: str) -> str:
    """Make the one who runs the commands; returns a key."""
    async with open_sessions(dsn) as sessions, sessions.begin() as session:
        user = await create_user(session, email="you@example.com", is_superuser=True)
        _ = await grant(session, user.account.id, 100_000, Cause("cli"))
        _, secret = await create_key(session, user.account.id)
        return secret


def _script() -> str:
    """One script, so that what a block sets is there for the next; it says where it is."""
    lines = ["set -euo pipefail", BEFORE]
    for page in PAGES:
        for block in page.blocks:
            if block.language == "sh" and block.not_run is None:
                lines += [f"echo; echo '@@ {page.name}:{block.line}'", block.text]
    return "\n".join([*lines, "echo; echo '@@ end'\n"])


def _environment(folder: Path) -> dict[str, str]:
    """Programs of this environment and of the embedded Postgres, and no foreign setting."""
    (folder / ".venv").symlink_to(sys.prefix)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    path = os.pathsep.join(
        [str(folder / ".venv" / "bin"), str(find_binaries().folder), kept["PATH"]]
    )
    data = {"TOKENBALANCE_DATA_DIR": str(folder / "data"), "LOG_LEVEL": "warning"}
    return {**kept, **data, "PATH": path}


def _embedded_dsn(data: Path) -> str:
    socket_folder = (data / "pgdata" / "postmaster.pid").read_text("utf-8").splitlines()[4]
    return f"postgresql://postgres@/tokenbalance?host={quote(socket_folder)}&port=5432"


def _run(script: str, folder: Path, environment: Mapping[str, str]) -> str:
    """Run it to its end, or for as long as it may take; returns what it printed."""
    file, log = folder / "commands.sh", folder / "commands.log"
    _ = file.write_text(script, "utf-8")
    with log.open("wb") as output, suppress(subprocess.TimeoutExpired):
        _ = subprocess.run(
            ["/bin/bash", str(file)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=LIMIT_S,
            check=False,
        )
    return log.read_text("utf-8")
