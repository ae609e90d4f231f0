from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tests.support.teams import create_full_team, team_key
from tokenbalance.errors import InvalidApiKey
from tokenbalance.model import CLI, Actor
from tokenbalance.people.bounded_limits import BoundedLimits
from tokenbalance.people.budgets import BudgetIsBound, add_budget, change_budget, list_budgets
from tokenbalance.people.callers import find_caller
from tokenbalance.people.limits import InvalidLimit
from tokenbalance.people.teams import members as member_module
from tokenbalance.people.teams import projects as project_module
from tokenbalance.people.teams import teams as team_module
from tokenbalance.people.teams.errors import (
    AlreadyMember,
    InvalidProject,
    InvalidTeamName,
    LastOwner,
    TeamClosed,
    TooManyInTeam,
    UnknownMember,
    UnknownProject,
)
from tokenbalance.people.teams.members import (
    add_member,
    change_member,
    find_member,
    list_members,
    remove_member,
)
from tokenbalance.people.teams.projects import change_project, create_project, list_projects
from tokenbalance.people.teams.teams import (
    change_team,
    close_team,
    create_team,
    get_team,
    teams_of_user,
    teams_page,
)

if TYPE_CHECKING:
    from tests.support.teams import Team
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.people.teams.members import MemberChanges


@pytest.fixture
async def team(pool: Pool, sessions: Sessions) -> Team:
    """A team with a member of each role."""
    return await create_full_team(pool, sessions)


async def works(pool: Pool, secret: str) -> bool:
    try:
        await find_caller(pool, secret)
    except InvalidApiKey:
        return False
    return True


async def test_members_are_listed_with_their_roles(sessions: Sessions, team: Team) -> None:
    async with sessions() as session:
        listed = await list_members(session, team.id)
        assert {one.user_id: one.role for one in listed} == {
            holder.user_id: role for role, holder in team.members.items()
        }
        assert [one.team.id for one in await teams_of_user(session, team.member.user_id)] == [
            team.id
        ]


async def test_a_user_is_a_member_once(sessions: Sessions, team: Team) -> None:
    with pytest.raises(AlreadyMember):
        async with sessions.begin() as session:
            await add_member(session, team.id, team.viewer.user_id, "owner", actor=CLI)


async def test_who_is_removed_loses_the_own_keys_and_counts(
    pool: Pool, sessions: Sessions, team: Team
) -> None:
    user_id = team.member.user_id
    own_id, own = await team_key(sessions, team.id, user_id)
    _, service = await team_key(sessions, team.id, None)
    async with sessions.begin() as session:
        limits = {"tokens_per_day": 5}
        await change_member(session, team.id, user_id, limits=limits, actor=CLI)
        await add_budget(
            session,
            team.id,
            amount=5,
            every="day",
            member_id=user_id,
            by_superuser=False,
            actor=CLI,
        )
    counted = "SELECT count(*) FROM limits WHERE account_id = $1"
    assert await pool.fetchval(counted, team.id) == 2

    async with sessions.begin() as session:
        removed = await remove_member(session, team.id, user_id, actor=CLI)

    assert removed.limits.tokens_per_day == 5
    assert await pool.fetchval(counted, team.id) == 0
    assert not await works(pool, own)
    assert await works(pool, service)
    assert await works(pool, team.member.secret), "the key of the personal account"
    events = "SELECT event FROM events WHERE account_id = $1 ORDER BY id DESC LIMIT 2"
    assert [one["event"] for one in await pool.fetch(events, team.id)] == [
        "member.removed",
        "key.revoked",
    ]
    # Coming back brings no key back.
    async with sessions.begin() as session:
        await add_member(session, team.id, user_id, "member", actor=CLI)
    assert not await works(pool, own)
    assert await pool.fetchval("SELECT revoked_at FROM api_keys WHERE id = $1", own_id)
    with pytest.raises(UnknownMember):
        async with sessions.begin() as session:
            await remove_member(session, team.id, 2**70, actor=CLI)


@pytest.mark.parametrize(
    ("stopping", "restarting"),
    [({"is_active": False}, {"is_active": True}), ({"role": "viewer"}, {"role": "admin"})],
)
async def test_the_keys_of_who_is_disabled_or_only_views_are_suspended(
    pool: Pool,
    sessions: Sessions,
    team: Team,
    stopping: MemberChanges,
    restarting: MemberChanges,
) -> None:
    _, own = await team_key(sessions, team.id, team.member.user_id)
    _, other = await team_key(sessions, team.id, team.admin.user_id)
    for changes, working in ((stopping, False), (restarting, True)):
        async with sessions.begin() as session:
            await change_member(session, team.id, team.member.user_id, actor=CLI, **changes)
        assert await works(pool, own) is working
        assert await works(pool, other)


async def test_a_key_for_who_is_no_member_any_more_does_not_work(
    pool: Pool, sessions: Sessions, team: Team
) -> None:
    stranger = await create_holder(pool)
    for user_id in (stranger.user_id, team.viewer.user_id):
        _, secret = await team_key(sessions, team.id, user_id)
        assert not await works(pool, secret)


LOSSES: list[MemberChanges | None] = [None, {"role": "admin"}, {"is_active": False}]


@pytest.mark.parametrize("loss", LOSSES, ids=["removed", "demoted", "disabled"])
async def test_the_last_owner_stays(
    pool: Pool, sessions: Sessions, team: Team, loss: MemberChanges | None
) -> None:
    async def lose() -> None:
        async with sessions.begin() as session:
            if loss is None:
                await remove_member(session, team.id, team.owner.user_id, actor=CLI)
            else:
                await change_member(session, team.id, team.owner.user_id, actor=CLI, **loss)

    with pytest.raises(LastOwner):
        await lose()
    # Nor is somebody an owner who cannot sign in.
    async with sessions.begin() as session:
        await change_member(session, team.id, team.admin.user_id, role="owner", actor=CLI)
    await pool.execute("UPDATE users SET is_active = false WHERE id = $1", team.admin.user_id)
    with pytest.raises(LastOwner):
        await lose()
    await pool.execute("UPDATE users SET is_active = true WHERE id = $1", team.admin.user_id)
    await lose()


async def test_of_two_owners_who_leave_at_once_one_stays(sessions: Sessions, team: Team) -> None:
    async with sessions.begin() as session:
        await change_member(session, team.id, team.admin.user_id, role="owner", actor=CLI)

    async def leave(user_id: int) -> None:
        async with sessions.begin() as session:
            await remove_member(session, team.id, user_id, actor=Actor("me", user_id))

    owners = (team.owner.user_id, team.admin.user_id)
    ended = await asyncio.gather(*map(leave, owners), return_exceptions=True)

    assert [type(one) for one in ended if isinstance(one, Exception)] == [LastOwner]
    async with sessions() as session:
        left = [one.user_id for one in await list_members(session, team.id) if one.role == "owner"]
        assert len(left) == 1


async def test_what_a_superuser_sets_for_a_member_or_project_no_admin_loosens(
    sessions: Sessions, team: Team
) -> None:
    user_id = team.member.user_id
    async with sessions.begin() as session:
        bound = {"tokens_per_day": 50}
        await change_member(session, team.id, user_id, limits=bound, by_superuser=True, actor=CLI)
        project = await create_project(session, team.id, "x", bound, by_superuser=True, actor=CLI)
        tighter, looser = {"tokens_per_day": 40}, {"tokens_per_day": 60}
        for wanted, stored in (({"tokens_per_day": None}, 50), (tighter, 40)):
            member = await change_member(session, team.id, user_id, limits=wanted, actor=CLI)
            project = await change_project(session, team.id, project.id, limits=wanted, actor=CLI)
            assert {member.limits.tokens_per_day, project.limits.tokens_per_day} == {stored}
        with pytest.raises(InvalidLimit, match="tokens_per_day: must be at most 50"):
            await change_member(session, team.id, user_id, limits=looser, actor=CLI)
        with pytest.raises(InvalidLimit, match="tokens_per_day: must be at most 50"):
            await change_project(session, team.id, project.id, limits=looser, actor=CLI)
        assert member.bounded == BoundedLimits.stored(member.bounded.as_document())


async def test_budgets_of_a_team_are_changed_by_admins_unless_a_superuser_has_set_them(
    sessions: Sessions, team: Team
) -> None:
    async with sessions.begin() as session:
        project = await create_project(session, team.id, "x", actor=CLI)
        for subject in (
            {},
            {"member_id": team.member.user_id},
            {"project_id": project.id},
        ):
            for superuser in (True, False):
                budget = await add_budget(
                    session,
                    team.id,
                    amount=5,
                    every="day",
                    name=f"{superuser}",
                    by_superuser=superuser,
                    actor=CLI,
                    **subject,  # pyright: ignore[reportArgumentType] - by its name
                )
                assert {
                    name: getattr(budget, name) for name in ("key_id", "member_id", "project_id")
                } == {"key_id": None, "member_id": None, "project_id": None, **subject}
        listed = await list_budgets(session, team.id)
        assert len(listed) == 6
        for budget in listed:
            if budget.is_bound:
                with pytest.raises(BudgetIsBound):
                    await change_budget(
                        session, team.id, budget.id, amount=6, by_superuser=False, actor=CLI
                    )
            else:
                await change_budget(
                    session, team.id, budget.id, amount=6, by_superuser=False, actor=CLI
                )
        with pytest.raises(InvalidLimit, match="key_id"):
            await add_budget(
                session,
                team.id,
                amount=5,
                every="day",
                member_id=team.member.user_id,
                project_id=project.id,
                by_superuser=True,
                actor=CLI,
            )
        for unknown, error in (
            ({"member_id": 2**60}, UnknownMember),
            ({"project_id": 2**70}, UnknownProject),
        ):
            with pytest.raises(error):
                await add_budget(
                    session,
                    team.id,
                    amount=5,
                    every="day",
                    by_superuser=True,
                    actor=CLI,
                    **unknown,
                )


async def test_the_keys_of_an_archived_project_are_suspended(
    pool: Pool, sessions: Sessions, team: Team
) -> None:
    async with sessions.begin() as session:
        project = await create_project(session, team.id, "course", actor=CLI)
    _, of_project = await team_key(sessions, team.id, None, project.id)
    _, other = await team_key(sessions, team.id, None)
    for archived in (True, False):
        async with sessions.begin() as session:
            await change_project(session, team.id, project.id, archived=archived, actor=CLI)
        assert await works(pool, of_project) is not archived
        assert await works(pool, other)


async def test_projects_have_names_of_their_own(sessions: Sessions, team: Team) -> None:
    async with sessions.begin() as session:
        project = await create_project(session, team.id, " Course ", actor=CLI)
        await create_project(session, team.id, "Another", actor=CLI)
        with pytest.raises(InvalidProject):
            await create_project(session, team.id, "cOURSE", actor=CLI)
        with pytest.raises(InvalidProject):
            await change_project(session, team.id, project.id, name="another", actor=CLI)
        await change_project(session, team.id, project.id, name="COURSE", actor=CLI)
        assert [one.name for one in await list_projects(session, team.id)] == ["Another", "COURSE"]


async def test_a_closed_team_keeps_its_books_and_nothing_works(
    pool: Pool, sessions: Sessions, team: Team
) -> None:
    _, service = await team_key(sessions, team.id, None)
    async with sessions.begin() as session:
        await change_team(session, team.id, name="Old", time_zone="Europe/Berlin", actor=CLI)
        closed = await close_team(session, team.id, actor=CLI)
        assert closed == await get_team(session, team.id)
        assert (closed.name, closed.time_zone) == ("Old", "Europe/Berlin")
        assert not await teams_of_user(session, team.owner.user_id)
        with pytest.raises(TeamClosed):
            await change_member(session, team.id, team.owner.user_id, role="admin", actor=CLI)
    assert not await works(pool, service)
    _, later = await team_key(sessions, team.id, None)
    assert not await works(pool, later)


async def test_teams_are_found_by_a_part_of_their_name(
    pool: Pool, sessions: Sessions, team: Team
) -> None:
    someone = await create_holder(pool)
    async with sessions.begin() as session:
        other = await create_team(session, "100% Crew_", someone.user_id, actor=CLI)
        everybodys = await teams_page(session, None, "CREW", None, 1, everybodys=True)
        rest = await teams_page(session, None, "CREW", everybodys.next, 9, everybodys=True)
        assert [one.team.id for page in (everybodys, rest) for one in page.data] == [
            team.id,
            other.id,
        ]
        assert [one.role for one in rest.data] == [None]
        for search, found in (("", [other.id]), ("0% c", [other.id]), ("%%", []), ("\0", [])):
            page = await teams_page(session, someone.user_id, search, None, 9)
            assert [one.team.id for one in page.data] == found
            assert {one.role for one in page.data} <= {"owner"}


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "x" * 101])
async def test_a_team_has_a_name_of_one_line(sessions: Sessions, name: str) -> None:
    with pytest.raises(InvalidTeamName):
        async with sessions.begin() as session:
            await create_team(session, name, None, actor=CLI)


async def test_there_are_at_most_so_many_of_each(
    sessions: Sessions, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team_module, "OWNED_MAX", 1)
    monkeypatch.setattr(member_module, "MEMBERS_MAX", 4)
    monkeypatch.setattr(project_module, "PROJECTS_MAX", 0)
    owner_id = team.owner.user_id
    async with sessions.begin() as session:
        with pytest.raises(TooManyInTeam, match="at most 1 teams"):
            await create_team(session, "More", owner_id, actor=Actor("owner", owner_id))
        await create_team(session, "More", owner_id, actor=CLI)
        with pytest.raises(TooManyInTeam, match="at most 4 members"):
            await add_member(session, team.id, 5, "member", actor=CLI)
        with pytest.raises(TooManyInTeam, match="at most 0 projects"):
            await create_project(session, team.id, "x", actor=CLI)
        assert await find_member(session, team.id, 5) is None
