from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tests.support.teams import create_full_team
from tokenbalance.model import CLI, Actor
from tokenbalance.people import attempts
from tokenbalance.people.attempts import TooSoon
from tokenbalance.people.teams import invitations
from tokenbalance.people.teams.errors import (
    AlreadyMember,
    TeamClosed,
    TooManyInTeam,
    UnknownInvitation,
)
from tokenbalance.people.teams.invitations import (
    accept,
    invite,
    list_invitations,
    open_invitation,
    withdraw,
)
from tokenbalance.people.teams.members import change_member, list_members, remove_member
from tokenbalance.people.teams.teams import close_team
from tokenbalance.people.users import InvalidEmail, get_user

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tests.support.teams import Team
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.people.teams.rows import TeamRole

ADDRESS = "192.0.2.1"


@pytest.fixture
async def team(pool: Pool, sessions: Sessions) -> Team:
    """A team with a member of each role."""
    return await create_full_team(pool, sessions)


@pytest.fixture
async def guest(pool: Pool) -> Holder:
    """Somebody who is no member."""
    return await create_holder(pool)


async def invited(
    sessions: Sessions, team: Team, role: TeamRole = "member", email: str | None = None
) -> str:
    async with sessions.begin() as session:
        _, secret = await invite(session, team.id, role, email, actor=CLI)
    return secret


async def join(sessions: Sessions, secret: str, user: Holder) -> TeamRole:
    actor = Actor("guest", user.user_id)
    member = await accept(sessions, secret, user.user_id, ADDRESS, actor=actor)
    return member.role


async def email_of(sessions: Sessions, user: Holder) -> str:
    async with sessions() as session:
        return (await get_user(session, user.user_id)).email


async def test_an_invitation_is_used_once_and_its_secret_is_not_stored(
    pool: Pool, sessions: Sessions, team: Team, guest: Holder
) -> None:
    secret = await invited(sessions, team, "admin")
    stored = str(await pool.fetch("SELECT * FROM invitations"))
    assert secret not in stored
    opened, of_team = await open_invitation(sessions, secret, guest.user_id, ADDRESS)
    assert (opened.role, of_team.name) == ("admin", "Crew")
    assert await join(sessions, secret, guest) == "admin"
    assert await pool.fetchval("SELECT count(*) FROM invitations") == 0
    other = await create_holder(pool)
    with pytest.raises(UnknownInvitation):
        await join(sessions, secret, other)
    assert await pool.fetchval("SELECT event FROM events ORDER BY id DESC LIMIT 1") == (
        "member.added"
    )


async def test_an_invitation_that_two_use_at_once_lets_one_of_them_join(
    pool: Pool, sessions: Sessions, team: Team, guest: Holder
) -> None:
    secret = await invited(sessions, team)
    other = await create_holder(pool)
    ended = await asyncio.gather(
        *(join(sessions, secret, user) for user in (guest, other)), return_exceptions=True
    )
    assert ended.count("member") == 1
    assert [type(one) for one in ended if isinstance(one, Exception)] == [UnknownInvitation]
    async with sessions() as session:
        assert len(await list_members(session, team.id)) == 5


async def test_an_invitation_with_an_email_is_for_that_user_however_it_is_written(
    pool: Pool, sessions: Sessions, team: Team, guest: Holder
) -> None:
    email = await email_of(sessions, guest)
    secret = await invited(sessions, team, email=f" {email.upper()} ")
    with pytest.raises(UnknownInvitation):
        await join(sessions, secret, await create_holder(pool))
    assert await join(sessions, secret, guest) == "member"
    with pytest.raises(InvalidEmail):
        await invited(sessions, team, email="nobody")


async def test_wrong_expired_used_and_withdrawn_secrets_are_told_the_same(
    pool: Pool, sessions: Sessions, team: Team, guest: Holder
) -> None:
    used, expired, withdrawn = [await invited(sessions, team) for _ in range(3)]
    assert await join(sessions, used, await create_holder(pool))
    async with sessions.begin() as session:
        *_, last = await list_invitations(session, team.id)
        assert await withdraw(session, team.id, last.id, actor=CLI) == last
        with pytest.raises(UnknownInvitation):
            await withdraw(session, team.id, 2**70, actor=CLI)
    await pool.execute("UPDATE invitations SET expires_at = now()")
    foreign = await invited(sessions, team, email="somebody@example.com")
    async with sessions() as session:
        assert len(await list_invitations(session, team.id)) == 1
    said: set[str] = set()
    for secret in (used, expired, withdrawn, foreign, "x" * 43, "", "é" * 43):
        with pytest.raises(UnknownInvitation) as refused:
            await join(sessions, secret, guest)
        said.add(str(refused.value))
    assert len(said) == 1


async def test_wrong_secrets_slow_their_address_down_and_right_ones_do_not(
    sessions: Sessions, team: Team, guest: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "ADDRESS_FREE", 2)
    secret = await invited(sessions, team)
    for _ in range(4):
        await open_invitation(sessions, secret, guest.user_id, ADDRESS)
    for _ in range(2):
        with pytest.raises(UnknownInvitation):
            await join(sessions, "x" * 43, guest)
    with pytest.raises(TooSoon):
        await join(sessions, secret, guest)


async def test_who_is_a_member_already_does_not_use_an_invitation_up(
    sessions: Sessions, team: Team, guest: Holder
) -> None:
    secret = await invited(sessions, team)
    with pytest.raises(AlreadyMember):
        await join(sessions, secret, team.viewer)
    assert await join(sessions, secret, guest)


async def test_a_closed_team_has_no_invitations(
    sessions: Sessions, team: Team, guest: Holder
) -> None:
    secret = await invited(sessions, team)
    async with sessions.begin() as session:
        await close_team(session, team.id, actor=CLI)
    with pytest.raises(UnknownInvitation):
        await join(sessions, secret, guest)
    with pytest.raises(TeamClosed):
        await invited(sessions, team)


async def test_nobody_comes_back_by_an_own_invitation(sessions: Sessions, team: Team) -> None:
    emails = {holder: await email_of(sessions, holder) for holder in (team.owner, team.admin)}

    async def offered() -> list[tuple[str, str]]:
        async with sessions() as session:
            return [(one.created_by, one.role) for one in await list_invitations(session, team.id)]

    async with sessions.begin() as session:
        await change_member(session, team.id, team.admin.user_id, role="owner", actor=CLI)
        for holder, email in emails.items():
            for role in ("owner", "member"):
                actor = Actor(email, holder.user_id)
                await invite(session, team.id, role, actor=actor)
    async with sessions.begin() as session:
        await change_member(session, team.id, team.owner.user_id, role="admin", actor=CLI)
    assert await offered() == [
        (emails[team.owner], "member"),
        (emails[team.admin], "owner"),
        (emails[team.admin], "member"),
    ]
    async with sessions.begin() as session:
        await remove_member(session, team.id, team.owner.user_id, actor=CLI)
    assert {by for by, _ in await offered()} == {emails[team.admin]}


async def test_a_team_has_at_most_so_many_open_invitations(
    pool: Pool, sessions: Sessions, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitations, "INVITATIONS_MAX", 1)
    _ = await invited(sessions, team)
    with pytest.raises(TooManyInTeam):
        await invited(sessions, team)
    await pool.execute("UPDATE invitations SET expires_at = now()")
    assert await invited(sessions, team)
