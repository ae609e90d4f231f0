"""The product as a newcomer tries it: `tokenbalance serve --sandbox` and its commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.clients.children import end

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

_START_S: Final = 120.0
_STOP_S: Final = 60.0
_COMMAND_S: Final = 60.0
_COMMAND: Final = (sys.executable, "-m", "tokenbalance.cli")
_LISTENING: Final = re.compile(r"listening on (http://\S+)")
_RESPONDED: Final = re.compile(r"^(?:GET|HEAD|POST|OPTIONS) /\S+ \d{3}$")


class Broken(Exception):
    """The product itself did not start, or a command of it failed."""


@dataclass(frozen=True, slots=True)
class Product:
    """A server that runs, and the environment in which its commands see the same books."""

    url: str
    _log: Path
    _environment: Mapping[str, str]

    def command(self, *words: str) -> Any:
        """Run one of its commands with `--json`; returns what it printed."""
        done = subprocess.run(
            (*_COMMAND, *words, "--json"),
            env=dict(self._environment),
            cwd=self._log.parent,
            capture_output=True,
            timeout=_COMMAND_S,
            check=False,
        )
        if not done.stdout:
            raise Broken(done.stderr.decode("utf-8", "replace").strip())
        return json.loads(done.stdout)

    @property
    def environment(self) -> Mapping[str, str]:
        """What its commands are run with."""
        return self._environment

    def new_key(self, email: str, balance: int) -> str:
        """Create a user with a balance; returns a key of theirs."""
        self.command("user", "create", email, "--balance", str(balance))
        return self.command("key", "create", email)["key"]

    def charges(self, email: str) -> list[dict[str, Any]]:
        """List what a user was charged, oldest first."""
        entries: list[dict[str, Any]] = self.command("ledger", "list", email)
        return [entry for entry in entries if entry["kind"] == "charge"]

    def mark(self) -> int:
        """Tell where the log ends, for `requests_since`."""
        return self._log.stat().st_size

    def requests_since(self, mark: int) -> list[str]:
        """Return the requests in the log, such as `POST /v1/responses 200`."""
        with self._log.open("rb") as log:
            log.seek(mark)
            lines = log.read().decode("utf-8").splitlines()
        messages = (str(json.loads(line)["message"]) for line in lines if line.startswith("{"))
        return [message for message in messages if _RESPONDED.match(message)]


@contextmanager
def served(folder: Path, upstream: str | None = None, **settings: str) -> Generator[Product]:
    """Serve on a data folder and a port of its own.

    Args:
        folder: what the server writes is in it.
        upstream: the URL of what it is to take for OpenAI; None: the sandbox.
        settings: variables of its environment.

    Raises:
        Broken: it did not start in time.

    """
    foreign = ("OPENAI_", "TOKENBALANCE_", "DATABASE_")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(foreign)
    } | {"TOKENBALANCE_DATA_DIR": str(folder / "data"), "LOG_FORMAT": "json", "LOG_LEVEL": "info"}
    if upstream is not None:
        environment |= {"OPENAI_BASE_URL": upstream, "OPENAI_API_KEY": "sk-of-the-mock"}
    environment |= settings
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            (*_COMMAND, "serve", *(() if upstream else ("--sandbox",)), "--port", "0"),
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Product(_listening(server, log), log, environment)
    finally:
        # Only the server itself: it stops its database when it no longer needs it.
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(_STOP_S)
        end(server)


def _listening(server: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and server.poll() is None:
        found = _LISTENING.search(log.read_text("utf-8"))
        if found:
            return found[1]
        time.sleep(0.1)
    raise Broken(log.read_text("utf-8")[-1000:])
