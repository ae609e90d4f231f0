from __future__ import annotations

import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx2

from tests.cli.conftest import COMMAND, TIMEOUT_S, Cli

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

READY = "listening on "


@contextmanager
def serving(cli: Cli, *options: str) -> Generator[tuple[str, list[str]], None, None]:
    """Run `serve` on a free port; yields its URL and, once it has ended, its standard error."""
    said: list[str] = []
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", *options],
        cwd=cli.folder,
        env=cli.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout
        assert process.stderr
        try:
            line = process.stdout.readline()
            assert line.startswith(READY), process.stderr.read()
            yield line.removeprefix(READY).strip(), said
        finally:
            process.send_signal(signal.SIGTERM)
            rest, errors = process.communicate(timeout=TIMEOUT_S)
            said += errors.splitlines()
    assert (process.returncode, rest) == (0, "")


def test_the_whole_story_on_the_sandbox_beside_a_running_serve(cli: Cli) -> None:
    cli("user", "create", "a@b.c", "--balance", "1000")
    secret = cli("key", "create", "a@b.c").out.strip()

    with serving(cli, "--sandbox") as (url, _):
        answer = httpx2.post(
            f"{url}/v1/chat/completions",
            headers={"Authorization": f"Bearer {secret}"},
            json={"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]},
            timeout=TIMEOUT_S,
        )
        used = answer.json()["usage"]["total_tokens"]
        assert answer.headers["x-tokenbalance-upstream"] == "sandbox"
        assert cli.json("balance", "show", "a@b.c")["balance"] == 1000 - used
        assert cli.json("ledger", "verify")["ok"] is True


def test_commands_use_the_embedded_database_of_a_running_serve(tmp_path: Path) -> None:
    cli = Cli(tmp_path, {"TOKENBALANCE_DATA_DIR": str(tmp_path / "the data")})

    # Before: the command starts the server, migrates, and stops it again.
    assert cli("user", "create", "a@b.c").out == "created user 1 a@b.c\n"
    with serving(cli) as (url, said):
        assert cli.json("user", "show", "a@b.c")["id"] == 1
        assert "in use by `serve`" in cli.refused("serve", "--port", "0")
        assert httpx2.get(f"{url}/livez").is_success

    lines = "\n".join(said)
    for command in (
        "createsuperuser",
        "key create",
        f"{url}/admin",
        f"{url}/docs",
        "OPENAI_API_KEY",
    ):
        assert command in lines
