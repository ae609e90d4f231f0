"""`tokenbalance team member ...`: who belongs to a team, in which role and with which limits."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from tokenbalance.cli.arguments import ACTOR, AsJson, Email, Team
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import print_json
from tokenbalance.cli.team_rows import member_fields, print_members, report_member
from tokenbalance.people.limit_text import read_limits
from tokenbalance.people.teams import members
from tokenbalance.people.teams.members import MemberChanges
from tokenbalance.people.teams.names import member_named, team_named
from tokenbalance.people.users import find_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.people.teams.rows import MemberRow

app = typer.Typer(name="member", help="Add, list, change, disable and remove members of a team.")


class Role(StrEnum):
    """What a member may do: `people.teams.rows.ROLES`, as the command line takes them."""

    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"
    OWNER = "owner"


Limits: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=VALUE",
        help="A limit of all the member's keys of the team together, such as"
        " credits_per_month=1000; none as the value: no limit. Repeat for several.",
    ),
]


@app.command("add")
def add(
    team: Team,
    email: Email,
    *,
    role: Annotated[
        Role, typer.Option("--role", help="What the user may do in the team.")
    ] = Role.MEMBER,
    limit: Limits = None,
    as_json: AsJson = False,
) -> None:
    """Add a user to a team; somebody who is no user yet is invited: `team invite`."""
    limits = read_limits(limit or ())

    async def work(session: AsyncSession) -> MemberRow:
        user = await find_user(session, email)
        return await members.add_member(
            session,
            (await team_named(session, team)).id,
            user.id,
            role.value,
            limits,
            by_superuser=True,
            actor=ACTOR,
        )

    report_member(transact(work), "Member added", as_json=as_json)


@app.command("list")
def list_all(team: Team, *, as_json: AsJson = False) -> None:
    """List the members of a team, by e-mail."""

    async def find(session: AsyncSession) -> Sequence[MemberRow]:
        return await members.list_members(session, (await team_named(session, team)).id)

    found = transact(find)
    if as_json:
        print_json([member_fields(member) for member in found])
    else:
        print_members(found)


@app.command("set")
def change(
    team: Team,
    email: Email,
    *,
    role: Annotated[
        Role | None, typer.Option("--role", help="What the member may do in the team.")
    ] = None,
    limit: Limits = None,
    as_json: AsJson = False,
) -> None:
    """Change the role of a member, or limits; the others stay. Budgets: `budget add --member`."""
    changes = MemberChanges()
    if role is not None:
        changes["role"] = role.value
    if limit:
        changes["limits"] = read_limits(limit)
    if not changes:
        msg = "nothing to change: see --help"
        raise typer.BadParameter(msg)
    _change(team, email, changes, "Member changed", as_json=as_json)


@app.command("disable")
def disable(team: Team, email: Email, *, as_json: AsJson = False) -> None:
    """Suspend a member and the member's keys of the team, at once; service keys stay."""
    _change(team, email, MemberChanges(is_active=False), "Member disabled", as_json=as_json)


@app.command("enable")
def enable(team: Team, email: Email, *, as_json: AsJson = False) -> None:
    """Let a disabled member, and the member's keys of the team, be used again."""
    _change(team, email, MemberChanges(is_active=True), "Member enabled", as_json=as_json)


@app.command("remove")
def remove(team: Team, email: Email, *, as_json: AsJson = False) -> None:
    """Remove a member and revoke the member's keys of the team, for good; service keys stay."""

    async def work(session: AsyncSession) -> MemberRow:
        member = await member_named(session, await team_named(session, team), email)
        return await members.remove_member(session, member.team_id, member.user_id, actor=ACTOR)

    report_member(transact(work), "Member removed", as_json=as_json)


def _change(team: str, email: str, changes: MemberChanges, done: str, *, as_json: bool) -> None:
    async def work(session: AsyncSession) -> MemberRow:
        member = await member_named(session, await team_named(session, team), email)
        return await members.change_member(
            session, member.team_id, member.user_id, by_superuser=True, actor=ACTOR, **changes
        )

    report_member(transact(work), done, as_json=as_json)
