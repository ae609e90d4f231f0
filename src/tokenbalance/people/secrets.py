"""Secrets of API keys: generated, recognised, hashed. Never stored in clear, never logged."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

MARK: Final = "sk-tb-"
"""Prefix of API keys: many tools only accept keys that begin with `sk-`."""
SIGN_IN_MARK: Final = "tb-"
"""Prefix of sign-in tokens, and of API keys from before `sk-tb-`."""
_SHOWN_CHARS: Final = 6
"""Characters after the prefix that are shown."""


def new_secret(mark: str = MARK) -> str:
    """Generate a secret of 256 random bits, in characters that need no quoting anywhere."""
    return mark + secrets.token_urlsafe(32)


def sha256(secret: str) -> bytes:
    """Hash a secret for storing. No salt: the secret has more entropy than a salt would add."""
    return hashlib.sha256(secret.encode()).digest()


def prefix(secret: str) -> str:
    """Return the beginning of a secret, by which people tell their keys apart."""
    mark = next((mark for mark in (MARK, SIGN_IN_MARK) if secret.startswith(mark)), "")
    return secret[: len(mark) + _SHOWN_CHARS]
