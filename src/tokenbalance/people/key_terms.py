"""What a key may do, and until when; and what of it a key gives to the keys made with it.

Pure: no database and no clock. The rule in one line: nothing that a key makes exceeds it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from tokenbalance.model import SCOPES
from tokenbalance.people.key_errors import InvalidScopes, ScopesMissing
from tokenbalance.people.limits import InvalidLimit, KeyLimits
from tokenbalance.people.tighter_limits import tighter

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from tokenbalance.model import Scope

NEW_KEY_SCOPES: Final[tuple[Scope, ...]] = ("inference",)
"""Of a key that a person makes and says nothing about."""
TEAM_SCOPES: Final[tuple[Scope, ...]] = ("inference", "read")
"""All that a key of a team may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTerms:
    """What a key may do, and until when."""

    scopes: tuple[Scope, ...]
    expires_at: datetime | None = None
    """None: never."""
    limits: KeyLimits = field(default_factory=KeyLimits)
    insufficient_status: int | None = None
    """None: the operator's choice."""
    force_store_false: bool = False
    sub_account_from: str | None = None
    """Where a request names its end user; None: nowhere."""
    sub_account_limits: KeyLimits = field(default_factory=KeyLimits)
    """Of each end user."""

    def within(self, maker: KeyTerms) -> KeyTerms:
        """Return these terms for a key that is made with another one.

        It ends no later, each limit is the tighter of both, it responds with the maker's status
        where it has none of its own, stores nothing where the maker does not, and names its end
        users as the maker does.

        Raises:
            ScopesMissing: they have a scope that the maker has not.
            InvalidLimit: they have a model that the maker's may not match.

        """
        require_scopes(self.scopes, maker.scopes)
        return KeyTerms(
            scopes=self.scopes,
            expires_at=earlier(self.expires_at, maker.expires_at),
            limits=tighter(self.limits, maker.limits),
            insufficient_status=self.insufficient_status or maker.insufficient_status,
            force_store_false=self.force_store_false or maker.force_store_false,
            sub_account_from=maker.sub_account_from or self.sub_account_from,
            sub_account_limits=tighter(self.sub_account_limits, maker.sub_account_limits),
        )

    def is_within(self, other: KeyTerms) -> bool:
        """Whether nothing here exceeds the other's."""
        try:
            most = self.within(other)
        except (ScopesMissing, InvalidLimit):
            return False
        status = self.insufficient_status
        return replace(most, insufficient_status=status, scopes=self.scopes) == self


def require_scopes(wanted: Collection[Scope], held: Collection[Scope]) -> None:
    """Require that a key has all scopes that it gives.

    Raises:
        ScopesMissing: it does not.

    """
    missing: list[Scope] = [scope for scope in SCOPES if scope in wanted and scope not in held]
    if missing:
        raise ScopesMissing(missing, tuple(held))


def scopes_for_team(scopes: Collection[Scope]) -> list[Scope]:
    """Return which of these scopes a key of a team has where none are asked for.

    Raises:
        InvalidScopes: none; the key that asks may only manage.

    """
    found: list[Scope] = [scope for scope in TEAM_SCOPES if scope in scopes]
    if not found:
        msg = "the key that creates it must have inference or read too, which a key of a team needs"
        raise InvalidScopes(msg)
    return found


def require_scopes_of_team(scopes: Collection[Scope]) -> None:
    """Require that a key of a team may have these scopes.

    Raises:
        InvalidScopes: it may not.

    """
    if not set(scopes) <= set(TEAM_SCOPES):
        msg = "a key of a team cannot have the scope manage: its members have keys of their own"
        raise InvalidScopes(msg)


def clean_scopes(scopes: Collection[str]) -> tuple[Scope, ...]:
    """Return scopes in their usual order, each once.

    Raises:
        InvalidScopes: none, or an unknown one.

    """
    known: tuple[Scope, ...] = tuple(scope for scope in SCOPES if scope in scopes)
    if not known or not set(scopes) <= set(SCOPES):
        msg = f"the scopes of a key must be at least one of {', '.join(SCOPES)}"
        raise InvalidScopes(msg)
    return known


def earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    """Return the earlier of two ends; None: never."""
    return min((end for end in (one, other) if end is not None), default=None)
