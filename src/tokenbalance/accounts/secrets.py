"""API key secrets: how one is made, recognised and stored. Never stored in clear, never logged."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

MARK: Final = "tb-"
DISPLAY_CHARS: Final = 9
"""Characters of a secret that people may see again: the mark and six more."""


def new_secret() -> str:
    """A secret of 256 random bits, in characters that survive every shell and header."""
    return MARK + secrets.token_urlsafe(32)


def sha256(secret: str) -> bytes:
    """What is stored of a secret. No salt: it has more entropy than any salt would add."""
    return hashlib.sha256(secret.encode()).digest()


def prefix(secret: str) -> str:
    """What people see of a secret, to tell their keys apart."""
    return secret[:DISPLAY_CHARS]
