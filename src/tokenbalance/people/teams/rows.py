"""Teams and their members as everybody outside `people` sees them: frozen, of no session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from tokenbalance.database.tables import TEAM_ROLES
from tokenbalance.people.limits import NO_LIMITS, KeyLimits

if TYPE_CHECKING:
    from datetime import datetime

    from tokenbalance.database.tables import Account, Membership, User

TeamRole: TypeAlias = Literal["viewer", "member", "admin", "owner"]
"""What a member may do in a team; `people.access` says what each allows."""
ROLES: Final = cast("tuple[TeamRole, ...]", TEAM_ROLES)
"""All roles, each of which may do what the ones before it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamRow:
    """A team with its account. Amounts are credits."""

    id: int
    """That of its account."""
    name: str
    time_zone: str
    created_at: datetime
    closed_at: datetime | None
    """When it was deleted; None: it was not."""
    balance: int
    held: int
    overdraft: int
    limits: KeyLimits = NO_LIMITS
    """Of all its keys together."""

    @property
    def available(self) -> int:
        """What a new hold may take, in credits."""
        return self.balance + self.overdraft - self.held


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRow:
    """A user as a member of a team."""

    team_id: int
    user_id: int
    email: str
    name: str
    role: TeamRole
    limits: KeyLimits
    """Of all the member's keys of the team together."""
    joined_at: datetime
    disabled_at: datetime | None
    """Since when the member's keys of the team are suspended; None: they are not."""
    is_active: bool
    """Whether the user can sign in at all."""


def team_row(account: Account) -> TeamRow:
    """Copy a team."""
    return TeamRow(
        id=account.id,
        name=account.name,
        time_zone=account.time_zone,
        created_at=account.created_at,
        closed_at=account.closed_at,
        balance=account.balance,
        held=account.held,
        overdraft=account.overdraft,
        limits=KeyLimits.stored(account.limits),
    )


def member_row(membership: Membership, user: User) -> MemberRow:
    """Copy a member."""
    return MemberRow(
        team_id=membership.account_id,
        user_id=membership.user_id,
        email=user.email,
        name=user.name,
        role=cast("TeamRole", membership.role),
        limits=KeyLimits.stored(membership.limits),
        joined_at=membership.joined_at,
        disabled_at=membership.disabled_at,
        is_active=user.is_active,
    )
