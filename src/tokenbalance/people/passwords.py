"""Passwords: which are accepted, how they are hashed and verified. Never logged or stored in clear.

Knows nothing of users. Attempts are limited elsewhere.

    PasswordError
    |-- PasswordTooShort
    `-- PasswordTooLong
    Busy
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar, cast

from passlib.context import CryptContext

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PASSWORD_CHARS_MIN: Final = 5  # the rule of the original project
PASSWORD_CHARS_MAX: Final = 1024
WAITING_MAX: Final = 64
"""Queued passwords, at most."""

# New hashes are argon2; users of the original project have Django's.
_CONTEXT: Final = CryptContext(
    schemes=["argon2", "django_argon2", "django_pbkdf2_sha256"], deprecated="auto"
)
_NOBODYS_HASH: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4$"
    "7P2fM8YYQ6hV6v3/vxeilA$6vFPtEAAcy3CI+duEz97SQQQves5A+eRHE21cJx2+hI"
)
"""As costly to verify as a new hash. Its password is unknown, and is refused anyway."""
# A hash takes 64 MiB and a core for 0.2 s: more at once would only slow down the requests that are
# being relayed.
_THREADS: Final = 2
_HASHING: Final = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="password")
_PLACES: Final = threading.BoundedSemaphore(_THREADS + WAITING_MAX)


class PasswordError(ValueError):
    """The password is not accepted; the message never repeats it."""


class PasswordTooShort(PasswordError):
    """Fewer characters than the minimum."""


class PasswordTooLong(PasswordError):
    """More characters than the maximum."""


class Busy(Exception):
    """Too many passwords are queued; a retry in a moment may succeed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of verifying a password."""

    ok: bool
    new_hash: str | None = field(default=None, repr=False)
    """Replaces the stored hash if that is weaker than new ones; None: it does not."""


def check_password(password: str) -> None:
    """Check that a password is accepted, without hashing it.

    Raises:
        PasswordTooShort, PasswordTooLong: it is not accepted.

    """
    if len(password) < PASSWORD_CHARS_MIN:
        msg = f"the password must have at least {PASSWORD_CHARS_MIN} characters"
        raise PasswordTooShort(msg)
    if len(password) > PASSWORD_CHARS_MAX:
        msg = f"the password must have at most {PASSWORD_CHARS_MAX} characters"
        raise PasswordTooLong(msg)


async def hash_password(password: str) -> str:
    """Hash a password for storing, in a thread.

    Raises:
        PasswordTooShort, PasswordTooLong: it is not accepted.
        Busy: it was not hashed.

    """
    check_password(password)
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
        msg = "too many passwords are being checked: try again in a moment"
        raise Busy(msg)
    future = _HASHING.submit(work)
    # Not when the caller is cancelled: the thread goes on.
    future.add_done_callback(lambda _: _PLACES.release())
    return await asyncio.wrap_future(future)


def _as_bytes(password: str) -> bytes:
    """Encode as UTF-8, including lone surrogates, which JSON may contain."""
    return password.encode("utf-8", "surrogatepass")


def _hash(password: bytes) -> str:
    hashed = cast("object", _CONTEXT.hash(password))  # pyright: ignore[reportUnknownMemberType] - without types
    return str(hashed)


def _verify(password: bytes, stored: str | None) -> Verdict:
    if stored is not None:
        # A hash of an unknown kind, such as Django's `!...` for users without a password.
        with suppress(ValueError):
            return _look(password, stored)
    _ = _look(password, _NOBODYS_HASH)
    return Verdict(ok=False)


def _look(password: bytes, stored: str) -> Verdict:
    ok, new_hash = cast(
        "tuple[bool, str | None]",
        _CONTEXT.verify_and_update(password, stored),  # pyright: ignore[reportUnknownMemberType] - without types
    )
    return Verdict(ok, new_hash)
