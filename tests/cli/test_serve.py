from __future__ import annotations

import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.cli.conftest import COMMAND, TIMEOUT_S, Cli
from tokenbalance.wire.server.own_address import is_own_address

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


def test_commands_and_requests_work_together_on_the_sandbox(cli: Cli) -> None:
    cli("user", "create", "a@b.c", "--balance", "1000")
    secret = cli("key", "create", "a@b.c").out.strip()

    with serving(cli, "--sandbox") as (url, _):
        response = httpx2.post(
            f"{url}/v1/chat/completions",
            headers={"Authorization": f"Bearer {secret}"},
            json={"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]},
            timeout=TIMEOUT_S,
        )
        used = response.json()["usage"]["total_tokens"]
        assert response.headers["x-tokenbalance-upstream"] == "sandbox"
        assert cli.json("balance", "show", "a@b.c")["balance"] == 1000 - used
        assert cli.json("ledger", "verify")["ok"] is True


def test_commands_use_the_embedded_database_of_a_running_serve(tmp_path: Path) -> None:
    cli = Cli(tmp_path, {"TOKENBALANCE_DATA_DIR": str(tmp_path / "the data")}).program

    # Only a command that begins the books may create them; it says so.
    assert f"no database in {tmp_path / 'the data'}" in cli.refused("user", "list")
    assert not (tmp_path / "the data").exists()
    # Before: the command starts the server, migrates, and stops it again.
    created = cli("user", "create", "a@b.c")
    assert created.out == "User created: 1 a@b.c\n"
    assert created.err == f"warning: A new database was created in {tmp_path / 'the data'}\n"
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


@pytest.mark.parametrize(
    ("host", "upstream"),
    [
        ("127.0.0.1", "http://127.0.0.1:18999/v1"),
        ("127.0.0.1", "http://LOCALHOST:18999/v1"),
        ("127.0.0.1", "http://0.0.0.0:18999"),
        ("0.0.0.0", "http://127.0.0.2:18999/v1"),  # noqa: S104 - what containers listen on
    ],
)
def test_a_server_that_would_be_its_own_upstream_does_not_start(
    cli: Cli, host: str, upstream: str
) -> None:
    cli.settings["OPENAI_BASE_URL"] = upstream
    line = cli.refused("serve", "--port", "18999", "--host", host)
    assert "OPENAI_BASE_URL" in line


@pytest.mark.parametrize(
    ("host", "name", "is_own"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("localhost", "127.0.0.1", True),
        ("0.0.0.0", "127.0.0.2", True),  # noqa: S104 - as above
        ("0.0.0.0", "192.0.2.1", False),  # noqa: S104 - as above
        ("127.0.0.1", "192.0.2.1", False),
        ("127.0.0.1", "nobody.invalid", False),
        ("127.0.0.1", "", False),
    ],
)
def test_an_address_is_our_own_where_connections_to_it_arrive_here(
    host: str, name: str, is_own: bool
) -> None:
    assert is_own_address(name, host) is is_own
