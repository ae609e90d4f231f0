"""Records what changed about users, keys and sign-in tokens, from the rows before and after.

Nothing is recorded where nothing changed. Works in the caller's transaction; the rows before must
have been locked in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import select

from tokenbalance.database.tables import Account
from tokenbalance.events import Subject, changed, record
from tokenbalance.model import Actor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.events import Change
    from tokenbalance.model import Json
    from tokenbalance.people.budget_rows import Budget
    from tokenbalance.people.rows import AccountRow, KeyRow, UserRow
    from tokenbalance.people.teams.rows import InvitationRow, MemberRow, ProjectRow, TeamRow

_ACTIVE: Final[dict[bool, Change]] = {True: "user.enabled", False: "user.disabled"}
_SUPERUSER: Final[dict[bool, Change]] = {True: "user.promoted", False: "user.demoted"}


def record_new_user(session: AsyncSession, actor: Actor, user: UserRow) -> None:
    """Record that a user was created."""
    tags: dict[str, Json] = {"tags": list(user.tags)} if user.tags else {}
    record(
        session,
        actor,
        "user.created",
        _subject(user),
        email=user.email,
        name=user.name,
        is_superuser=user.is_superuser,
        **tags,
    )


def record_sign_up(session: AsyncSession, user: UserRow, address: str) -> None:
    """Record that a stranger at this address has become a user."""
    record(session, Actor(user.email, user.id, address=address), "user.signed_up", _subject(user))


def record_user(
    session: AsyncSession,
    actor: Actor,
    before: UserRow,
    after: UserRow,
    *,
    new_password: bool = False,
) -> None:
    """Record each change of a user."""
    subject = _subject(after)
    if after.name != before.name:
        record(session, actor, "user.renamed", subject, name=changed(before.name, after.name))
    if after.is_active != before.is_active:
        change = changed(before.is_active, after.is_active)
        record(session, actor, _ACTIVE[after.is_active], subject, is_active=change)
    if after.is_superuser != before.is_superuser:
        change = changed(before.is_superuser, after.is_superuser)
        record(session, actor, _SUPERUSER[after.is_superuser], subject, is_superuser=change)
    if after.tags != before.tags:
        tags = changed(list(before.tags), list(after.tags))
        record(session, actor, "user.tagged", subject, tags=tags)
    if new_password:
        record(session, actor, "user.password_set", subject)


def record_unlock(session: AsyncSession, actor: Actor, user: UserRow, failures: int) -> None:
    """Record that failed sign-ins of a user were cleared."""
    record(session, actor, "user.unlocked", _subject(user), failures=failures)


def record_link(session: AsyncSession, actor: Actor, user: UserRow) -> None:
    """Record that a link was made by which a user sets a first password."""
    record(session, actor, "user.link_created", _subject(user))


def record_new_key(session: AsyncSession, actor: Actor, key: KeyRow) -> None:
    """Record that a key was created."""
    record_new_keys(session, actor, [key])


def record_new_keys(session: AsyncSession, actor: Actor, keys: Sequence[KeyRow]) -> None:
    """Record that keys were created, an event for each."""
    for subject, key in zip(_subjects(keys), keys, strict=True):
        record(session, actor, "key.created", subject, **_facts(key))


def record_key(session: AsyncSession, actor: Actor, before: KeyRow, after: KeyRow) -> None:
    """Record the change of a key: revoked, given a new secret, or changed otherwise."""
    record_keys(session, actor, [(before, after)])


def record_keys(session: AsyncSession, actor: Actor, keys: Sequence[tuple[KeyRow, KeyRow]]) -> None:
    """Record the changes of keys, an event for each, from the rows before and after."""
    subjects = _subjects([after for _, after in keys])
    for subject, (before, after) in zip(subjects, keys, strict=True):
        event, details = _change_of_key(before, after)
        if details:
            record(session, actor, event, subject, **details)


def record_account(
    session: AsyncSession, actor: Actor, before: AccountRow, after: AccountRow
) -> None:
    """Record that limits or the time zone of an account were changed."""
    old: dict[str, Json] = {"limits": before.limits.as_document(), "time_zone": before.time_zone}
    new: dict[str, Json] = {"limits": after.limits.as_document(), "time_zone": after.time_zone}
    details = {name: changed(old[name], new[name]) for name in new if old[name] != new[name]}
    if details:
        subject = Subject(user_id=after.user_id, account_id=after.id)
        record(session, actor, "account.limits_set", subject, **details)


def record_budget(
    session: AsyncSession,
    actor: Actor,
    account: AccountRow,
    before: Budget | None,
    after: Budget | None,
) -> None:
    """Record that a budget was added, changed or removed."""
    budget = after or before
    if budget is None or before == after:
        return
    event: Change = "budget.changed"
    if before is None or after is None:
        event = "budget.added" if before is None else "budget.removed"
    details = _differences(_facts_of_budget(before), _facts_of_budget(after))
    if account.user_id is None:
        actor = actor.for_team
    user_id = account.user_id if budget.member_id is None else budget.member_id
    subject = Subject(user_id=user_id, account_id=account.id, key_id=budget.key_id)
    record(session, actor, event, subject, **{"budget_id": budget.id, **details})


def _facts_of_budget(budget: Budget | None) -> dict[str, Json]:
    if budget is None:
        return {}
    return {
        "project_id": budget.project_id,
        "name": budget.name,
        "unit": budget.unit,
        "amount": budget.amount,
        "every": budget.every,
        "anchor": _time(budget.anchor),
    }


def record_new_team(
    session: AsyncSession, actor: Actor, team: TeamRow, owner_id: int | None
) -> None:
    """Record that a team was created."""
    subject = Subject(user_id=owner_id, account_id=team.id)
    record(session, actor, "team.created", subject, name=team.name)


def record_team(session: AsyncSession, actor: Actor, before: TeamRow, after: TeamRow) -> None:
    """Record that a team was renamed, got another time zone, or was closed."""
    event: Change = "team.changed" if after.closed_at is None else "team.closed"
    details = _differences(_facts_of_team(before), _facts_of_team(after))
    if details:
        record(session, actor, event, Subject(account_id=after.id), **details)


def record_member(
    session: AsyncSession, actor: Actor, before: MemberRow | None, after: MemberRow | None
) -> None:
    """Record that a user was added to a team, removed, or given another role or other limits."""
    member = after or before
    if member is None or before == after:
        return
    event: Change = "member.changed"
    if before is None or after is None:
        event = "member.added" if before is None else "member.removed"
    details = _differences(_facts_of_member(before), _facts_of_member(after))
    subject = Subject(user_id=member.user_id, account_id=member.team_id)
    record(session, actor, event, subject, **details)


def record_project(
    session: AsyncSession, actor: Actor, before: ProjectRow | None, after: ProjectRow
) -> None:
    """Record that a project was created, renamed, archived, or given other limits."""
    if before == after:
        return
    event: Change = "project.created" if before is None else "project.changed"
    details = _differences(_facts_of_project(before), _facts_of_project(after))
    subject = Subject(account_id=after.team_id)
    record(session, actor, event, subject, **{"project_id": after.id, **details})


def record_invitation(
    session: AsyncSession,
    actor: Actor,
    event: Literal["invitation.created", "invitation.withdrawn"],
    invitation: InvitationRow,
) -> None:
    """Record that an invitation to a team was made or withdrawn."""
    record(
        session,
        actor,
        event,
        Subject(account_id=invitation.team_id),
        invitation_id=invitation.id,
        email=invitation.email,
        role=invitation.role,
    )


def _differences(old: dict[str, Json], new: dict[str, Json]) -> dict[str, Json]:
    return {
        name: changed(old.get(name), new.get(name))
        for name in old | new
        if old.get(name) != new.get(name)
    }


def _facts_of_team(team: TeamRow) -> dict[str, Json]:
    return {
        "name": team.name,
        "time_zone": team.time_zone,
        "closed_at": _time(team.closed_at),
    }


def _facts_of_project(project: ProjectRow | None) -> dict[str, Json]:
    if project is None:
        return {}
    return {
        "name": project.name,
        "limits": project.limits.as_document(),
        "archived_at": _time(project.archived_at),
    }


def _facts_of_member(member: MemberRow | None) -> dict[str, Json]:
    if member is None:
        return {}
    return {
        "role": member.role,
        "limits": member.limits.as_document(),
        "disabled_at": _time(member.disabled_at),
    }


async def record_ended_tokens(
    session: AsyncSession, actor: Actor, account_id: int, token_ids: Sequence[int]
) -> None:
    """Record that sign-in tokens of an account were ended, an event for each."""
    if not token_ids:
        return
    user_id = await session.scalar(select(Account.user_id).where(Account.id == account_id))
    for token_id in token_ids:
        subject = Subject(user_id=user_id, account_id=account_id, key_id=token_id)
        record(session, actor, "token.ended", subject)


def _change_of_key(before: KeyRow, after: KeyRow) -> tuple[Change, dict[str, Json]]:
    old, new = _facts(before), _facts(after)
    details: dict[str, Json] = {
        name: changed(old[name], new[name]) for name in new if old[name] != new[name]
    }
    if after.revoked_at is not None:
        event: Change = "key.revoked"
        if before.revoked_at is None:
            details["revoked_at"] = changed(None, _time(after.revoked_at))
    elif after.secret_sha256 != before.secret_sha256:
        event = "key.rotated"
    else:
        event = "key.changed"
    return event, details


def _facts(key: KeyRow) -> dict[str, Json]:
    """What may change about a key; the secret only by the prefix that is shown everywhere."""
    return {
        "prefix": key.prefix,
        "name": key.name,
        "expires_at": _time(key.expires_at),
        "insufficient_status": key.insufficient_status,
        "force_store_false": key.force_store_false,
        "scopes": list(key.scopes),
        "limits": key.limits.as_document(),
        "sub_account_from": key.sub_account_from,
        "sub_account_limits": key.sub_account_limits.as_document(),
        "made_by_key_id": key.made_by_key_id,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _subject(user: UserRow) -> Subject:
    return Subject(user_id=user.id, account_id=user.account.id)


def _subjects(keys: Sequence[KeyRow]) -> list[Subject]:
    return [Subject(user_id=key.user_id, account_id=key.account_id, key_id=key.id) for key in keys]
