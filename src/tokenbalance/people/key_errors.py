"""Refused changes of API keys.

ApiKeyError
|-- InvalidExpiry
|-- InvalidInsufficientStatus
|-- InvalidKeyName
|-- InvalidScopes
|-- KeyEnded
|-- KeyExceeds
|-- MakerEnded
|-- ScopesMissing
`-- UnknownKey
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenbalance.model import Scope


class ApiKeyError(Exception):
    """The change of a key is refused; the message is one line for people."""


class InvalidExpiry(ApiKeyError):
    """The expiry is in the past, has no time zone, or is out of range."""


class InvalidInsufficientStatus(ApiKeyError):
    """The status is neither 402 nor 429."""


class InvalidKeyName(ApiKeyError):
    """The name is too long or has control characters."""


class InvalidScopes(ApiKeyError):
    """No scope, an unknown one, or more than the key that made it has."""


class KeyEnded(ApiKeyError):
    """The key was revoked or has expired, and cannot be changed any more."""


class KeyExceeds(ApiKeyError):
    """The key that asks for a new secret could not have made the key whose secret it is."""


class MakerEnded(ApiKeyError):
    """The key that asks was revoked or has expired since it was looked up."""


class ScopesMissing(ApiKeyError):
    """The key that asks would give scopes that it does not have."""

    def __init__(self, missing: Sequence[Scope], held: Sequence[Scope]) -> None:
        super().__init__(f"a key without the scopes {', '.join(missing)} cannot give them")
        self.missing = missing
        self.held = held


class UnknownKey(ApiKeyError):
    """No key has this id, or it is another account's."""

    def __init__(self, key_id: int) -> None:
        super().__init__(f"no key has the id {key_id}")
