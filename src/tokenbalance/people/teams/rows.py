"""Teams and their members as everybody outside `people` sees them: frozen, of no session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from tokenbalance.database.tables import TEAM_ROLES
from tokenbalance.people.bounded_limits import BoundedLimits
from tokenbalance.people.limits import NO_LIMITS, KeyLimits

if TYPE_CHECKING:
    from datetime import datetime

    from tokenbalance.database.tables import Account, Invitation, Membership, Project, User

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
    bounded: BoundedLimits
    """Of all the member's keys of the team together; and how far admins may change them."""
    joined_at: datetime
    disabled_at: datetime | None
    """Since when the member's keys of the team are suspended; None: they are not."""
    is_active: bool
    """Whether the user can sign in at all."""

    @property
    def limits(self) -> KeyLimits:
        """What limits all the member's keys of the team together."""
        return self.bounded.limits

    @property
    def acts_as_owner(self) -> bool:
        """Whether the member can do now what owners may."""
        return self.role == "owner" and self.disabled_at is None and self.is_active


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectRow:
    """Keys of a team that belong together."""

    team_id: int
    id: int
    name: str
    bounded: BoundedLimits
    """Of all its keys together; and how far admins may change them."""
    created_at: datetime
    archived_at: datetime | None
    """Since when its keys are suspended; None: they are not."""

    @property
    def limits(self) -> KeyLimits:
        """What limits all its keys together."""
        return self.bounded.limits


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationRow:
    """An invitation without its secret."""

    team_id: int
    id: int
    email: str | None
    """Who may use it; None: whoever has it."""
    role: TeamRole
    created_by: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ListedTeam:
    """A team in a list, as one user sees it."""

    team: TeamRow
    role: TeamRole | None
    """What the user is in it; None: no member."""


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
        bounded=BoundedLimits.stored(membership.limits),
        joined_at=membership.joined_at,
        disabled_at=membership.disabled_at,
        is_active=user.is_active,
    )


def project_row(project: Project) -> ProjectRow:
    """Copy a project."""
    return ProjectRow(
        team_id=project.account_id,
        id=project.id,
        name=project.name,
        bounded=BoundedLimits.stored(project.limits),
        created_at=project.created_at,
        archived_at=project.archived_at,
    )


def invitation_row(invitation: Invitation) -> InvitationRow:
    """Copy an invitation, without its secret."""
    return InvitationRow(
        team_id=invitation.account_id,
        id=invitation.id,
        email=invitation.email,
        role=cast("TeamRole", invitation.role),
        created_by=invitation.created_by,
        created_at=invitation.created_at,
        expires_at=invitation.expires_at,
    )
