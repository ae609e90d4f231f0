"""Passwords: how they are hashed and verified. Never logged or stored in clear.

Knows nothing of users. Attempts are limited elsewhere; which new ones are accepted, is in
`password_rules`.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from tokenbalance.people.hashing import UnknownHash, hash_secret, verify_secret
from tokenbalance.people.password_rules import DEFAULT_RULES, PASSWORD_CHARS_MAX, PasswordRules

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

WAITING_MAX: Final = 64
"""Queued passwords, at most."""

_NOBODYS_HASH: Final = (
    "$argon2id$v=19$m=19456,t=2,p=1$"
    "7P2fM8YYQ6hV6v3/vxeilA$6vFPtEAAcy3CI+duEz97SQQQves5A+eRHE21cJx2+hI"
)
"""As costly to verify as a new hash. Its password is unknown, and is refused anyway."""
# Each waits for the process that hashes one password at a time.
_THREADS: Final = 1
_HASHING: Final = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="password")
_PLACES: Final = threading.BoundedSemaphore(_THREADS + WAITING_MAX)


class Busy(Exception):
    """Too many passwords are queued; a retry in a moment may succeed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of verifying a password."""

    ok: bool
    new_hash: str | None = field(default=None, repr=False)
    """Replaces the stored hash if that is weaker than new ones; None: it does not."""


async def hash_password(
    password: str, rules: PasswordRules = DEFAULT_RULES, email: str = ""
) -> str:
    """Hash a new password for storing, in a thread.

    Args:
        password: any text.
        rules: which passwords are accepted.
        email: the user's.

    Raises:
        PasswordError: it is not accepted.
        Busy: it was not hashed.

    """
    rules.check(password, email)
    return await _in_thread(lambda: _hash(_as_bytes(password)))


async def verify_password(password: str, stored: str | None) -> Verdict:
    """Verify a password, in a thread.

    Args:
        password: any text.
        stored: the hash of the right password. If it is None or of an unknown kind, no password is
            right, and verifying takes as long.

    Raises:
        Busy: it was not verified.

    """
    if len(password) > PASSWORD_CHARS_MAX:
        return Verdict(ok=False)
    return await _in_thread(lambda: _verify(_as_bytes(password), stored))


async def _in_thread(work: Callable[[], T]) -> T:
    if not _PLACES.acquire(blocking=False):
        msg = "too many passwords are being checked at the moment; try again"
        raise Busy(msg)
    future = _HASHING.submit(work)
    # Not when the caller is cancelled: the thread goes on.
    future.add_done_callback(lambda _: _PLACES.release())
    return await asyncio.wrap_future(future)


def _as_bytes(password: str) -> bytes:
    """Encode as UTF-8, including lone surrogates, which JSON may contain."""
    return password.encode("utf-8", "surrogatepass")


def _hash(password: bytes) -> str:
    return hash_secret(password)


def _verify(password: bytes, stored: str | None) -> Verdict:
    if stored is not None:
        with suppress(UnknownHash):
            return _look(password, stored)
    _ = _look(password, _NOBODYS_HASH)
    return Verdict(ok=False)


def _look(password: bytes, stored: str) -> Verdict:
    return Verdict(*verify_secret(password, stored))
