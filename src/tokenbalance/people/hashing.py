"""Hashes passwords in a process of its own, of lower priority, one at a time.

A thread would not do: when it has hashed, it needs the interpreter's lock, and with its low
priority it may keep that from the event loop for a long time on a machine that is fully used.

    request     one line of JSON: a password and the stored hash to verify it against, or null
    response    one line of JSON: a new hash, or [whether it is right, a better hash or null];
                null if the stored hash is of an unknown kind

The process starts with the first password, and ends when its standard input does, that is, with the
process that started it. If it cannot start, or breaks off, passwords are hashed here.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias, cast

if TYPE_CHECKING:
    from passlib.context import CryptContext

Verified: TypeAlias = tuple[bool, str | None]
"""Whether the password is right, and a hash to replace the stored one, if that is outdated."""

_NICE: Final = 19
_SCHEMES: Final = ("argon2", "django_argon2", "django_pbkdf2_sha256")
"""New hashes are argon2; users of the original project have Django's."""
# OWASP's password storage cheat sheet: argon2id, 19 MiB, 2 passes, 1 lane. More lanes would take
# several cores at once from the requests that are being relayed.
_MEMORY_KIB: Final = 19 * 1024
_PASSES: Final = 2
_LANES: Final = 1


class UnknownHash(ValueError):
    """The stored hash is of an unknown kind, such as Django's `!...` for no password."""


def hash_secret(password: bytes) -> str:
    """Hash a password with the parameters of today. Blocks; not for two threads at once."""
    response = _ask(password, None)
    return cast("str", response) if response is not _NOTHING else hash_here(password)


def verify_secret(password: bytes, stored: str) -> Verified:
    """Verify a password. Blocks; not for two threads at once.

    Raises:
        UnknownHash: no password can be right.

    """
    response = _ask(password, stored)
    if response is _NOTHING:
        return verify_here(password, stored)
    if response is None:
        raise UnknownHash
    ok, new_hash = cast("tuple[bool, str | None]", response)
    return ok, new_hash


def hash_here(password: bytes) -> str:
    """Hash a password in this process."""
    return str(cast("object", _context().hash(password)))  # pyright: ignore[reportUnknownMemberType] - without types


def verify_here(password: bytes, stored: str) -> Verified:
    """Verify a password in this process; raises `UnknownHash` as above."""
    try:
        return cast(
            "Verified",
            _context().verify_and_update(password, stored),  # pyright: ignore[reportUnknownMemberType] - without types
        )
    except ValueError:
        raise UnknownHash from None


@cache
def _context() -> CryptContext:
    from passlib.context import CryptContext  # noqa: PLC0415 - slow, and rarely needed here

    return CryptContext(
        schemes=list(_SCHEMES),
        deprecated="auto",
        argon2__memory_cost=_MEMORY_KIB,
        argon2__time_cost=_PASSES,
        argon2__parallelism=_LANES,
    )


_NOTHING: Final = object()
"""Instead of a response."""
_children: Final[list[subprocess.Popen[str]]] = []
"""The process, once it has been started."""


def _ask(password: bytes, stored: str | None) -> object:
    """Let the process do it; started again once if it has ended in the meantime."""
    line = json.dumps([password.decode("latin-1"), stored])
    for _ in range(2):
        with suppress(OSError, ValueError):
            return _exchange(line)
        stop()
    return _NOTHING


def _exchange(request: str) -> object:
    child = _children[0] if _children else _start()
    assert child.stdin is not None  # noqa: S101 - for the type checker: both are pipes
    assert child.stdout is not None  # noqa: S101 - as above
    print(request, file=child.stdin, flush=True)
    line = cast("str", child.stdout.readline())
    return cast("object", json.loads(line))


def _start() -> subprocess.Popen[str]:
    child = subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="ascii",
    )
    _children.append(child)
    return child


def stop() -> None:
    """End the process, if there is one."""
    while _children:
        child = _children.pop()
        child.kill()
        with suppress(OSError):
            _ = child.communicate()


_ = atexit.register(stop)


def main() -> None:
    """Answer requests until standard input ends."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        # Meant for the server, which ends this when it has finished.
        _ = signal.signal(signum, signal.SIG_IGN)
    _ = _context()
    # Only now: importing should not take longer than necessary.
    _ = os.nice(_NICE)
    for line in sys.stdin:
        password, stored = cast("tuple[str, str | None]", json.loads(line))
        _ = sys.stdout.write(f"{json.dumps(_respond(password.encode('latin-1'), stored))}\n")
        _ = sys.stdout.flush()


def _respond(password: bytes, stored: str | None) -> str | Verified | None:
    if stored is None:
        return hash_here(password)
    try:
        return verify_here(password, stored)
    except UnknownHash:
        return None


if __name__ == "__main__":
    main()
