"""Who may do what: the only place that checks roles and scopes.

                     /v1, quote   read one's own   change one's own   as a superuser
    inference        yes          yes              no                 no
    read             no           yes              no                 no
    manage           no           yes              yes, but for the   if the owner is one
                                                   password
    sign-in token    yes          yes              yes                if the user is one

A key has one scope or several. What belongs to another user is "not found" rather than
"forbidden", so that ids reveal nothing.

In a team:

    right        who                        may
    see          everybody                  see the team, its members, the own keys and usage
    see_all      viewers, admins, owners    see all keys, and what everybody uses
    have_keys    members, admins, owners    have keys of the own
    administer   admins, owners             change members but for owners, projects, keys, and the
                                            limits and budgets of all these; invite; move credits
                                            between the team and its members
    own          owners                     change owners, rename and close the team

Superusers have every right in every team. A key of a team acts for nobody: it sees what was sent
with it, and of the team only what is left of its limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from tokenbalance.errors import MissingScope, NotAllowed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Caller, Scope
    from tokenbalance.people.teams.rows import TeamRole

TeamRight: TypeAlias = Literal["see", "see_all", "have_keys", "administer", "own"]
"""What somebody may do in a team."""

_WHO_MAY: Final[Mapping[TeamRight, frozenset[TeamRole]]] = MappingProxyType(
    {
        "see": frozenset({"viewer", "member", "admin", "owner"}),
        "see_all": frozenset({"viewer", "admin", "owner"}),
        "have_keys": frozenset({"member", "admin", "owner"}),
        "administer": frozenset({"admin", "owner"}),
        "own": frozenset({"owner"}),
    }
)
_REFUSALS: Final[Mapping[TeamRight, str]] = MappingProxyType(
    {
        "see": "This requires a member of the team.",
        "see_all": "This requires an owner, admin or viewer of the team.",
        "have_keys": "Viewers of a team have no keys in it.",
        "administer": "This requires an owner or admin of the team.",
        "own": "This requires an owner of the team.",
    }
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What somebody is in a team."""

    team_id: int
    user_id: int | None
    """Who it is; None: the operator, who is nobody's member."""
    role: TeamRole | None
    """None: no member of it, but a superuser."""
    is_superuser: bool

    def may(self, right: TeamRight) -> bool:
        """Whether they may do it."""
        return self.is_superuser or self.role in _WHO_MAY[right]

    def require(self, right: TeamRight) -> None:
        """Require that they may do it.

        Raises:
            NotAllowed: they may not.

        """
        if not self.may(right):
            raise NotAllowed(_REFUSALS[right])

    def require_over(self, *roles: TeamRole) -> None:
        """Require that they may change members who have these roles, or shall have them.

        Raises:
            NotAllowed: they may not.

        """
        self.require("own" if "owner" in roles else "administer")


def require_inference(caller: Caller) -> None:
    """Require what may send requests to models.

    Raises:
        MissingScope: the key may not.

    """
    _require(caller, "inference")


def require_manage(caller: Caller) -> None:
    """Require what may change something of the caller's own.

    Raises:
        MissingScope: the key may not.

    """
    _require(caller, "manage")


def require_superuser(caller: Caller) -> None:
    """Require a superuser, with what may act as one.

    Raises:
        NotAllowed: the caller is an ordinary user.
        MissingScope: the superuser's key is an ordinary user's.

    """
    if not caller.is_superuser:
        msg = "This requires a superuser."
        raise NotAllowed(msg)
    require_manage(caller)


def require_sign_in(caller: Caller) -> None:
    """Require a sign-in token, not an API key.

    Raises:
        NotAllowed: the caller uses an API key.

    """
    if not caller.signed_in:
        msg = "This requires a sign-in token; an API key is not enough."
        raise NotAllowed(msg)


def user_of(caller: Caller) -> int:
    """Return the user for whom the caller acts.

    Raises:
        NotAllowed: the caller is a key of a team.

    """
    if caller.is_of_team or caller.user_id is None:
        msg = "This requires a user's own key; this key belongs to a team."
        raise NotAllowed(msg)
    return caller.user_id


def subject_of(caller: Caller, user_id: int | None) -> int | None:
    """Return the user that a request is about; None: the caller's own account.

    Raises:
        NotAllowed: an ordinary user names another user.
        MissingScope: the superuser's key is an ordinary user's.

    """
    if user_id is None or (user_id == caller.user_id and not caller.is_of_team):
        return None
    require_superuser(caller)
    return user_id


def sees_everything(caller: Caller) -> bool:
    """Whether the caller also finds what belongs to other users."""
    return caller.is_superuser and _may(caller, "manage")


def asking_key(caller: Caller) -> int | None:
    """Return the key beyond which the caller may give nothing; None with a sign-in token."""
    return None if caller.signed_in else caller.key_id


def _may(caller: Caller, scope: Scope) -> bool:
    return scope in caller.scopes or caller.signed_in


def _require(caller: Caller, scope: Scope) -> None:
    if not _may(caller, scope):
        raise MissingScope([scope], caller.scopes)
