"""Which keys of a team are suspended: the one place for the rule.

    of a key                            works while
    that a member answers for           the member belongs to the team, is not disabled in it, and
                                        is more than a viewer
    of a project                        the project is not archived
    any                                 the team is not closed

The statement of every hold looks at the column of the key, so a change counts from its commit on,
on every replica. That a user was disabled altogether is looked at by itself, in the user's row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, not_, or_, select, update

from tokenbalance.database.tables import Account, ApiKey, Membership, Project

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


async def renew_suspensions(session: AsyncSession, team_id: int) -> None:
    """Suspend those keys of a team that must not work, and no others.

    Works in the caller's transaction, in which the account is locked and all changes are written.
    """
    is_closed = (
        select(Account.id).where(Account.id == team_id, Account.closed_at.is_not(None)).exists()
    )
    is_member = (
        select(Membership.user_id)
        .where(
            Membership.account_id == team_id,
            Membership.user_id == ApiKey.user_id,
            Membership.disabled_at.is_(None),
            Membership.role != "viewer",
        )
        .exists()
    )
    is_archived = (
        select(Project.id)
        .where(
            Project.account_id == team_id,
            Project.id == ApiKey.project_id,
            Project.archived_at.is_not(None),
        )
        .exists()
    )
    suspended = or_(is_closed, is_archived, and_(ApiKey.user_id.is_not(None), not_(is_member)))
    # In the order of ids, as whoever else locks several keys.
    changing = (
        select(ApiKey.id)
        .where(ApiKey.account_id == team_id, ApiKey.is_suspended != suspended)
        .order_by(ApiKey.id)
        .with_for_update(key_share=True)
    )
    await session.execute(
        update(ApiKey).where(ApiKey.id.in_(changing)).values(is_suspended=suspended),
        execution_options={"synchronize_session": False},
    )
