"""On whose behalf a request is sent, where its key is marked for that: Open WebUI and the like.

    header:X-OpenWebUI-User-Email     the value of a header, which does not go upstream
    user, safety_identifier           a field of the body

A value is compared without spaces around it and without regard to case, and only a hash of it is
kept. A request that names nobody counts for one end user more, who has no name.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tokenbalance.model.limits import END

if TYPE_CHECKING:
    from tokenbalance.model import Document, Policy

Headers = list[tuple[bytes, bytes]]

_HEADER: Final = "header:"
_DIGITS: Final = 32


def policy_for(key_id: int, policy: Policy, headers: Headers, document: Document) -> Policy:
    """Return the policy of one request: with the limits of the end user whom it names.

    Args:
        key_id: the key that the request shows.
        policy: of that key.
        headers: of the request, names in lower case.
        document: its body.

    """
    end_users = policy.end_users
    if end_users is None:
        return policy
    subject = subject_of(key_id, _named(end_users.named_by, headers, document))
    rules = None if end_users.rules is None else replace(end_users.rules, subject=subject)
    return policy.of_end_user(subject, rules)


def subject_in_head(key_id: int, policy: Policy, headers: Headers) -> str | None:
    """Return the subject of the end user whom a header names; None where a body may name one."""
    end_users = policy.end_users
    if end_users is None or not end_users.named_by.startswith(_HEADER):
        return None
    return subject_of(key_id, _named(end_users.named_by, headers, {}))


def subject_of(key_id: int, name: str) -> str:
    """Name an end user of a key as the subject of limits; another key's is another subject."""
    digest = hashlib.sha256(f"{key_id}:{name.strip().casefold()}".encode(errors="replace"))
    return END + digest.hexdigest()[:_DIGITS]


def without_name(policy: Policy, headers: Headers) -> Headers:
    """Return the headers that go upstream: without that which names the end user."""
    if policy.end_users is None or not policy.end_users.named_by.startswith(_HEADER):
        return headers
    name = _header_of(policy.end_users.named_by)
    return [field for field in headers if field[0] != name]


def _named(named_by: str, headers: Headers, document: Document) -> str:
    if named_by.startswith(_HEADER):
        name = _header_of(named_by)
        values = [value for known, value in headers if known == name]
        return b",".join(values).decode("utf-8", "replace")
    value = document.get(named_by)
    return value if isinstance(value, str) else ""


def _header_of(named_by: str) -> bytes:
    return named_by.removeprefix(_HEADER).lower().encode("ascii", "replace")
