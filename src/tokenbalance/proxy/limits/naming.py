"""How limits are called: in headers by subject and name, in messages by whose they are."""

from __future__ import annotations

from typing import Final

from tokenbalance.model.limits import ACCOUNT

LIMIT_HEADER: Final = b"x-tokenbalance-limit"
"""Of a refusal: the limit or rule that refused, such as `key.tokens_per_minute`."""
_OWNERS: Final = {ACCOUNT: "this account", "end": "this end user"}


def limit_name(subject: str, name: str) -> str:
    """Name a limit without the id of its subject."""
    return f"{subject.partition(':')[0]}.{name}"


def limit_header(subject: str, name: str) -> tuple[bytes, bytes]:
    """Return the header that names what has refused a request."""
    return LIMIT_HEADER, limit_name(subject, name).encode("ascii", "replace")


def owner_of(subject: str) -> str:
    """Say whose limit it is, as messages do."""
    kind = subject.partition(":")[0]
    return _OWNERS.get(kind, f"this {kind}")
