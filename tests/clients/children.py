"""Third-party programs as children: bounded in time, ended by their id, with few variables."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_GRACE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a child.

    Args:
        code: its exit code; None when it had to be ended.
        output: what it printed, stdout and stderr in their order.
        seconds: how long it took.

    """

    code: int | None
    output: str
    seconds: float


def run(
    words: Sequence[str], environment: Mapping[str, str], folder: Path, limit_s: float
) -> Ended:
    """Run a command to its end, or end it and all that it started after `limit_s`."""
    began = time.monotonic()
    log = folder / f"output-{time.monotonic_ns()}"
    with log.open("wb") as output:
        child = subprocess.Popen(
            words,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end(child)
    text = log.read_text("utf-8", "replace")
    log.unlink()
    return Ended(code, text, time.monotonic() - began)


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child that leads a session of its own, with what it left behind there."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait(_GRACE_S)


def clean_environment(home: Path, elsewhere: str) -> dict[str, str]:
    """Return the environment of a client.

    Args:
        home: a folder that is thrown away.
        elsewhere: the URL of a proxy through which it has to ask for every host but 127.0.0.1.

    """
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    proxies = {name: elsewhere for upper in names for name in (upper, upper.lower())}
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        **proxies,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
