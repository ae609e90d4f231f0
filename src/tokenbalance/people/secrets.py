"""API key secrets: how one is made, recognised and stored. Never stored in clear, never logged."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

MARK: Final = "sk-tb-"
"""How an API key begins: many tools take nothing for a key that does not begin with `sk-`."""
SIGN_IN_MARK: Final = "tb-"
"""How a sign-in token begins, and how API keys began that are older than their mark."""
_SHOWN_CHARS: Final = 6
"""Characters behind the mark of a secret that people may see again."""


def new_secret(mark: str = MARK) -> str:
    """A secret of 256 random bits, in characters that survive every shell and header."""
    return mark + secrets.token_urlsafe(32)


def sha256(secret: str) -> bytes:
    """What is stored of a secret. No salt: it has more entropy than any salt would add."""
    return hashlib.sha256(secret.encode()).digest()


def prefix(secret: str) -> str:
    """What people see of a secret, to tell their keys apart."""
    mark = next((mark for mark in (MARK, SIGN_IN_MARK) if secret.startswith(mark)), "")
    return secret[: len(mark) + _SHOWN_CHARS]
