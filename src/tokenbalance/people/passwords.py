"""Passwords: what is accepted, how they are stored and verified. Never logged, never kept in clear.

Knows nothing of users; who may try how often is not decided here.

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
"""Passwords that wait for those before them, at most."""

# New hashes are argon2; Django's are what users of the original project bring with them.
_CONTEXT: Final = CryptContext(
    schemes=["argon2", "django_argon2", "django_pbkdf2_sha256"], deprecated="auto"
)
_NOBODYS_HASH: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4$"
    "7P2fM8YYQ6hV6v3/vxeilA$6vFPtEAAcy3CI+duEz97SQQQves5A+eRHE21cJx2+hI"
)
"""As costly to verify as a hash made now; the password is not known and would be wrong, too."""
# A hash takes 64 MiB and a core for a fifth of a second: more at once would only push the requests
# that are being relayed aside.
_THREADS: Final = 2
_HASHING: Final = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="password")
_PLACES: Final = threading.BoundedSemaphore(_THREADS + WAITING_MAX)


class PasswordError(ValueError):
    """The password is not accepted; the message never repeats it."""


class PasswordTooShort(PasswordError):
    """Fewer characters than the minimum."""


class PasswordTooLong(PasswordError):
    """More characters than anyone types."""


class Busy(Exception):
    """Too many passwords wait to be hashed or verified; it may be tried again in a moment."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of verifying a password."""

    ok: bool
    new_hash: str | None = field(default=None, repr=False)
    """To be stored in place of the old one, which is weaker than those of today."""


def check_password(password: str) -> None:
    """Look whether a password would be accepted, without the work of hashing it.

    Raises:
        PasswordTooShort, PasswordTooLong: it is not.

    """
    if len(password) < PASSWORD_CHARS_MIN:
        msg = f"a password has at least {PASSWORD_CHARS_MIN} characters"
        raise PasswordTooShort(msg)
    if len(password) > PASSWORD_CHARS_MAX:
        msg = f"a password has at most {PASSWORD_CHARS_MAX} characters"
        raise PasswordTooLong(msg)


async def hash_password(password: str) -> str:
    """Hash a password for storing, away from the event loop.

    Raises:
        PasswordTooShort, PasswordTooLong: it is not accepted.
        Busy: it was not hashed.

    """
    check_password(password)
    return await _in_thread(lambda: _hash(_as_bytes(password)))


async def verify_password(password: str, stored: str | None) -> Verdict:
    """Verify a password, away from the event loop.

    Args:
        password: any text.
        stored: the hash of the right one. None, and what is no hash of a kind known here, has no
            right one, which takes as long to find out.

    Raises:
        Busy: it was not verified.

    """
    if len(password) > PASSWORD_CHARS_MAX:
        return Verdict(ok=False)
    return await _in_thread(lambda: _verify(_as_bytes(password), stored))


async def _in_thread(work: Callable[[], T]) -> T:
    if not _PLACES.acquire(blocking=False):
        msg = "too many passwords wait to be looked at: try again in a moment"
        raise Busy(msg)
    future = _HASHING.submit(work)
    # Not when the caller stops waiting: what has begun goes on in its thread.
    future.add_done_callback(lambda _: _PLACES.release())
    return await asyncio.wrap_future(future)


def _as_bytes(password: str) -> bytes:
    """UTF-8, which is extended to the halves of surrogate pairs that JSON may carry alone."""
    return password.encode("utf-8", "surrogatepass")


def _hash(password: bytes) -> str:
    return str(_CONTEXT.hash(password))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def _verify(password: bytes, stored: str | None) -> Verdict:
    if stored is not None:
        # No hash of a kind known here, as Django's `!...` of those who have no password.
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
