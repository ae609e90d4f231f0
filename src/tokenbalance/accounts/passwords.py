"""Passwords: what is accepted, and how they are stored. Never logged, never kept in clear.

Knows nothing of users; who may try how often is not decided here.

    PasswordError
    |-- PasswordTooShort
    `-- PasswordTooLong
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from passlib.context import CryptContext

PASSWORD_CHARS_MIN: Final = 5  # the rule of the original project
PASSWORD_CHARS_MAX: Final = 1024

# New hashes are argon2; Django's are what users of the original project bring with them.
_CONTEXT: Final = CryptContext(
    schemes=["argon2", "django_argon2", "django_pbkdf2_sha256"], deprecated="auto"
)
# A hash takes 64 MiB and a core for a fifth of a second: more at once would only push the requests
# that are being relayed aside.
_HASHING: Final = ThreadPoolExecutor(max_workers=2, thread_name_prefix="password")


class PasswordError(ValueError):
    """The password is not accepted; the message never repeats it."""


class PasswordTooShort(PasswordError):
    """Fewer characters than the minimum."""


class PasswordTooLong(PasswordError):
    """More characters than anyone types."""


async def hash_password(password: str) -> str:
    """Hash a password for storing, away from the event loop.

    Raises:
        PasswordTooShort, PasswordTooLong: it is not accepted.

    """
    if len(password) < PASSWORD_CHARS_MIN:
        msg = f"a password has at least {PASSWORD_CHARS_MIN} characters"
        raise PasswordTooShort(msg)
    if len(password) > PASSWORD_CHARS_MAX:
        msg = f"a password has at most {PASSWORD_CHARS_MAX} characters"
        raise PasswordTooLong(msg)
    return await asyncio.get_running_loop().run_in_executor(_HASHING, _hash, password)


def _hash(password: str) -> str:
    return str(_CONTEXT.hash(password))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
