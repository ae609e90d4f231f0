"""Keys of a team: who may still send requests with them, and which limits they share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import Holder, account_of, hold_states
from tests.support.chat import CHAT
from tests.support.teams import create_full_team, team_key
from tests.support.waiting import client_of, gated
from tokenbalance.model import CLI
from tokenbalance.people.account_limits import change_account_limits
from tokenbalance.people.key_changes import change_key
from tokenbalance.people.teams.members import change_member, remove_member
from tokenbalance.people.teams.projects import change_project, create_project
from tokenbalance.people.teams.teams import close_team
from tokenbalance.people.users import Changes, update_user

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tests.support.teams import Team
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool, Session, Sessions

    Change = Callable[[Session, Team, int], Awaitable[object]]

AMPLE = 10_000_000
ENDS: Mapping[str, tuple[Change, Change | None]] = {
    "removed": (lambda s, t, _: remove_member(s, t.id, t.member.user_id, actor=CLI), None),
    "disabled": (
        lambda s, t, _: change_member(s, t.id, t.member.user_id, is_active=False, actor=CLI),
        lambda s, t, _: change_member(s, t.id, t.member.user_id, is_active=True, actor=CLI),
    ),
    "a viewer": (
        lambda s, t, _: change_member(s, t.id, t.member.user_id, role="viewer", actor=CLI),
        lambda s, t, _: change_member(s, t.id, t.member.user_id, role="member", actor=CLI),
    ),
    "no active user": (
        lambda s, t, _: update_user(s, t.member.user_id, Changes(is_active=False), actor=CLI),
        lambda s, t, _: update_user(s, t.member.user_id, Changes(is_active=True), actor=CLI),
    ),
    "of an archived project": (
        lambda s, t, project: change_project(s, t.id, project, archived=True, actor=CLI),
        lambda s, t, project: change_project(s, t.id, project, archived=False, actor=CLI),
    ),
    "of a closed team": (lambda s, t, _: close_team(s, t.id, actor=CLI), None),
}
"""How a key of a member in a project stops working, and how that is taken back."""


async def key_of(
    sessions: Sessions, team: Team, user_id: int | None, project_id: int | None = None
) -> Holder:
    """Make a key of the team, as the holder of the team's account."""
    key_id, secret = await team_key(sessions, team.id, user_id, project_id)
    return Holder(user_id or 0, team.id, key_id, secret)


async def test_a_key_without_its_member_or_project_is_refused_by_every_process_at_once(
    dsn: str, pool: Pool, sessions: Sessions, upstream: ScriptedUpstream
) -> None:
    async with client_of(dsn, upstream) as one, client_of(dsn, upstream) as other:
        for name, (end, resume) in ENDS.items():
            team = await create_full_team(pool, sessions, AMPLE)
            async with sessions.begin() as session:
                project = await create_project(session, team.id, "Optics", actor=CLI)
            own = await key_of(sessions, team, team.member.user_id, project.id)
            service = await key_of(sessions, team, None)
            for http in (one, other):
                # Remembered from here on.
                for key in (own, service):
                    assert (await http.ask(key, CHAT)).status_code == 200, name
            async with sessions.begin() as session:
                await end(session, team, project.id)
            for http in (one, other, one):
                assert (await http.ask(own, CHAT)).status_code == 401, name
            still = 401 if name == "of a closed team" else 200
            assert (await other.ask(service, CHAT)).status_code == still, name
            if resume is not None:
                async with sessions.begin() as session:
                    await resume(session, team, project.id)
                for http in (one, other):
                    assert (await http.ask(own, CHAT)).status_code == 200, name
            assert set(await hold_states(pool, own)) == {"settled"}


async def test_what_a_member_has_in_flight_when_removed_is_charged_under_the_members_name(
    dsn: str, pool: Pool, sessions: Sessions, upstream: ScriptedUpstream
) -> None:
    team = await create_full_team(pool, sessions, AMPLE)
    own = await key_of(sessions, team, team.member.user_id)
    (gate,) = gated(upstream)
    async with client_of(dsn, upstream) as http:
        asked = http.begin(own)
        await gate.reached.wait()
        async with sessions.begin() as session:
            limits = {"credits_per_day": 1000}
            await change_member(session, team.id, team.member.user_id, limits=limits, actor=CLI)
        async with sessions.begin() as session:
            await remove_member(session, team.id, team.member.user_id, actor=CLI)
        gate.open()
        assert (await asked).status_code == 200
    account = await account_of(pool, own)
    assert (account.balance, account.held) == (AMPLE - 12, 0)
    charged = await pool.fetchval(
        "SELECT k.user_id FROM ledger e JOIN api_keys k ON k.id = e.key_id"
        " WHERE e.account_id = $1 AND e.kind = 'charge'",
        team.id,
    )
    assert charged == team.member.user_id


@pytest.mark.parametrize("tightest", ["key", "member", "project", "account"])
async def test_of_limits_of_key_member_project_and_team_the_tightest_binds(
    dsn: str, pool: Pool, sessions: Sessions, upstream: ScriptedUpstream, tightest: str
) -> None:
    team = await create_full_team(pool, sessions, AMPLE)
    wide = {"requests_per_minute": 1000, "credits_per_day": 10_000}
    async with sessions.begin() as session:
        project = await create_project(session, team.id, "Optics", wide, actor=CLI)
    own = await key_of(sessions, team, team.member.user_id, project.id)
    service = await key_of(sessions, team, None, project.id)
    user_id = team.member.user_id

    def limits_of(subject: str) -> dict[str, int]:
        return {**wide, "requests_per_minute": 1} if subject == tightest else wide

    async with sessions.begin() as session:
        await change_account_limits(session, team.id, limits_of("account"), actor=CLI)
        await change_member(session, team.id, user_id, limits=limits_of("member"), actor=CLI)
        limits = limits_of("project")
        await change_project(session, team.id, project.id, limits=limits, actor=CLI)
        await change_key(session, own.key_id, None, limits=limits_of("key"), actor=CLI)
    taken = "SELECT subject, name, used, reserved, taken_until FROM limits ORDER BY subject, name"
    async with client_of(dsn, upstream) as http:
        assert (await http.ask(own, CHAT)).status_code == 200
        before = await pool.fetch(taken)
        assert [row["used"] for row in before if row["name"] == "credits_per_day"] == [59] * 4
        refused = await http.ask(own, CHAT)
        assert refused.status_code == 429
        assert refused.headers["x-tokenbalance-limit"] == f"{tightest}.requests_per_minute"
        assert await pool.fetch(taken) == before, "nothing was taken from the others"
        # Only what it shares binds another key.
        shared = tightest in {"project", "account"}
        assert (await http.ask(service, CHAT)).status_code == (429 if shared else 200)
