"""Invitations: links by which users join a team, used once, within seven days.

The secret of a link has 256 random bits and is stored as SHA-256. Wrong secrets are counted and
slowed down by address; nothing tells a wrong one from one that was used, has expired, or is for
somebody else. An invitation is deleted when it is used or withdrawn.
"""

from __future__ import annotations

from datetime import timedelta
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, or_, select

from tokenbalance.database.ids import ID_MAX
from tokenbalance.database.tables import Invitation
from tokenbalance.people.attempts import count_link, take_back
from tokenbalance.people.emails import normal_email
from tokenbalance.people.secrets import new_secret, sha256
from tokenbalance.people.teams.errors import TooManyInTeam, UnknownInvitation
from tokenbalance.people.teams.members import add_member
from tokenbalance.people.teams.rows import invitation_row
from tokenbalance.people.teams.teams import get_team, lock_team
from tokenbalance.people.traces import record_invitation
from tokenbalance.people.users import clean_email, get_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.database.connections import Session, Sessions
    from tokenbalance.model import Actor
    from tokenbalance.people.teams.rows import InvitationRow, MemberRow, TeamRole, TeamRow

INVITATIONS_MAX: Final = 100
"""Of one team at the same time."""
VALID_FOR: Final = timedelta(days=7)
_SECRET_CHARS: Final = 43
"""Of 256 random bits, as `secrets.new_secret` writes them."""


def path_of_invitation(secret: str) -> str:
    """Return the path of the page that an invitation opens."""
    return f"/invitations/{secret}"


async def invite(
    session: AsyncSession, team_id: int, role: TeamRole, email: str | None = None, *, actor: Actor
) -> tuple[InvitationRow, str]:
    """Make an invitation and its secret, which cannot be shown again.

    Args:
        session: the caller's transaction.
        team_id: which team.
        role: what whoever uses it becomes.
        email: the user who may use it, who need not exist yet; None: whoever has the secret.
        actor: who invites, to be recorded.

    Raises:
        UnknownTeam, TeamClosed: there is no such team.
        InvalidEmail: that is no e-mail.
        TooManyInTeam: as many are open as may be.

    """
    _ = await lock_team(session, team_id)
    of_team = Invitation.account_id == team_id
    _ = await session.execute(
        delete(Invitation).where(of_team, Invitation.expires_at <= func.now())
    )
    if (await session.scalar(select(func.count()).where(of_team)) or 0) >= INVITATIONS_MAX:
        msg = f"at most {INVITATIONS_MAX} invitations of a team may be open: withdraw one first"
        raise TooManyInTeam(msg)
    secret = new_secret("")
    invitation = Invitation(
        account_id=team_id,
        secret_sha256=sha256(secret),
        email=None if email is None else clean_email(email),
        role=role,
        created_by=actor.name,
        expires_at=func.now() + VALID_FOR,
    )
    session.add(invitation)
    await session.flush()
    await session.refresh(invitation)
    made = invitation_row(invitation)
    record_invitation(session, actor, "invitation.created", made)
    return made, secret


async def list_invitations(session: AsyncSession, team_id: int) -> Sequence[InvitationRow]:
    """Return the invitations of a team that can be used, oldest first."""
    query = select(Invitation).where(
        Invitation.account_id == team_id, Invitation.expires_at > func.now()
    )
    return [invitation_row(one) for one in await session.scalars(query.order_by(Invitation.id))]


async def withdraw(
    session: AsyncSession, team_id: int, invitation_id: int, *, actor: Actor
) -> InvitationRow:
    """Withdraw an invitation: its link does not work any more. Returns it.

    Raises:
        UnknownTeam, TeamClosed: there is no such team.
        UnknownInvitation: the team has no such invitation, or it was used.

    """
    _ = await lock_team(session, team_id)
    # The column cannot even be compared with a larger number.
    number = invitation_id if 0 < invitation_id <= ID_MAX else 0
    withdrawn = await session.scalar(
        delete(Invitation)
        .where(Invitation.account_id == team_id, Invitation.id == number)
        .returning(Invitation)
    )
    if withdrawn is None:
        msg = f"no invitation of this team has the id {invitation_id}"
        raise UnknownInvitation(msg)
    row = invitation_row(withdrawn)
    record_invitation(session, actor, "invitation.withdrawn", row)
    return row


async def open_invitation(
    sessions: Sessions, secret: str, user_id: int, address: str
) -> tuple[InvitationRow, TeamRow]:
    """Find an invitation and its team, for a user who may use it; it is not used up.

    Raises:
        UnknownInvitation: it does not work, or not for this user.
        TooSoon: too many wrong ones came from this address.

    """
    async with sessions.begin() as session:
        counted = await count_link(session, address)
    async with sessions.begin() as session:
        invitation = await _found(session, secret, user_id)
        await take_back(session, counted)
        return invitation, await get_team(session, invitation.team_id)


async def accept(
    sessions: Sessions, secret: str, user_id: int, address: str, *, actor: Actor
) -> MemberRow:
    """Let a user join the team of an invitation, which does not work any more.

    Raises:
        UnknownInvitation: it does not work, or not for this user.
        TooSoon: too many wrong ones came from this address.
        AlreadyMember: the user is a member of the team; the invitation still works.
        TooManyInTeam: the team has as many members as it may have.

    """
    invitation, _ = await open_invitation(sessions, secret, user_id, address)
    async with sessions.begin() as session:
        # Locked first: of two who use it at once, the second finds it used.
        _ = await lock_team(session, invitation.team_id)
        invitation = await _found(session, secret, user_id)
        used = delete(Invitation).where(
            Invitation.account_id == invitation.team_id, Invitation.id == invitation.id
        )
        _ = await session.execute(used, execution_options={"synchronize_session": False})
        return await add_member(session, invitation.team_id, user_id, invitation.role, actor=actor)


async def _found(session: Session, secret: str, user_id: int) -> InvitationRow:
    """Find an invitation that a user may use.

    Raises:
        UnknownInvitation: it does not work, or not for this user.

    """
    unknown = "this invitation is wrong, was used before, has expired, or is for another user"
    if len(secret) != _SECRET_CHARS or not secret.isascii():
        raise UnknownInvitation(unknown)
    digest = sha256(secret)
    email = normal_email((await get_user(session, user_id)).email)
    found = await session.scalar(
        select(Invitation).where(
            Invitation.secret_sha256 == digest,
            Invitation.expires_at > func.now(),
            or_(Invitation.email.is_(None), func.lower(Invitation.email) == func.lower(email)),
        ),
        execution_options={"populate_existing": True},
    )
    # The look-up is by hash, so its duration says nothing about a secret; nor does this.
    if found is None or not compare_digest(found.secret_sha256, digest):
        raise UnknownInvitation(unknown)
    return invitation_row(found)
