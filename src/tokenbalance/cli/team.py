"""`tokenbalance team ...`: accounts that several users spend from, and their invitations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from tokenbalance.books.grants.due import bring_up_to_date
from tokenbalance.books.ledger.credits import Cause, grant
from tokenbalance.cli.arguments import ACTOR, AsJson, Team, read_credits
from tokenbalance.cli.database import transact
from tokenbalance.cli.key_rows import list_team_keys
from tokenbalance.cli.output import print_aside, print_json, print_line, print_table
from tokenbalance.cli.team_members import Role
from tokenbalance.cli.team_members import app as members_app
from tokenbalance.cli.team_projects import app as projects_app
from tokenbalance.cli.team_rows import (
    TEAM_COLUMNS,
    member_fields,
    print_members,
    report_team,
    team_fields,
)
from tokenbalance.database.paging import PAGE_ROWS_MAX
from tokenbalance.people.teams import invitations, teams
from tokenbalance.people.teams.members import list_members
from tokenbalance.people.teams.names import team_named
from tokenbalance.people.users import find_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.cli.output import Fields
    from tokenbalance.people.teams.rows import InvitationRow, MemberRow, TeamRow

app = typer.Typer(name="team", help="Create and change teams, their members and projects.")
app.add_typer(members_app)
app.add_typer(projects_app)

_INVITATIONS: Final = ("id", "email", "role", "created_by", "created_at", "expires_at")


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
    *,
    owner: Annotated[
        str | None, typer.Option("--owner", metavar="EMAIL", help="The user who owns it.")
    ] = None,
    balance: Annotated[
        int,
        typer.Option(
            "--balance", metavar="N", parser=read_credits, help="Initial credits, as a grant."
        ),
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Create a team with an account."""

    async def work(session: AsyncSession) -> TeamRow:
        owner_id = None if owner is None else (await find_user(session, owner)).id
        team = await teams.create_team(session, name, owner_id, actor=ACTOR)
        if balance:
            _ = await grant(session, team.id, balance, Cause(ACTOR))
        return await teams.get_team(session, team.id)

    report_team(transact(work), "Team created", as_json=as_json)


@app.command("list")
def list_all(
    *,
    search: Annotated[
        str, typer.Option("--search", metavar="TEXT", help="Only teams whose name has it.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """List all teams in the order of creation, closed ones too."""

    async def find(session: AsyncSession) -> list[TeamRow]:
        found: list[TeamRow] = []
        after: str | None = None
        while True:
            page = await teams.teams_page(
                session, None, search, after, PAGE_ROWS_MAX, everybodys=True
            )
            found += [listed.team for listed in page.data]
            if (after := page.next) is None:
                return found

    rows = [team_fields(team) for team in transact(find)]
    if as_json:
        print_json(rows)
    else:
        print_table(TEAM_COLUMNS, rows)


@app.command("show")
def show(team: Team, *, as_json: AsJson = False) -> None:
    """Show a team and its members."""

    async def find(session: AsyncSession) -> tuple[TeamRow, Sequence[MemberRow]]:
        team_id = (await team_named(session, team)).id
        await bring_up_to_date(session, team_id)
        return await teams.get_team(session, team_id), await list_members(session, team_id)

    found, members = transact(find)
    if as_json:
        print_json({**team_fields(found), "members": [member_fields(one) for one in members]})
        return
    print_table(TEAM_COLUMNS, [team_fields(found)])
    if members:
        print_line("")
        print_members(members)


@app.command("rename")
def rename(
    team: Team,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called from now on.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Give a team another name."""

    async def work(session: AsyncSession) -> TeamRow:
        team_id = (await team_named(session, team)).id
        return await teams.change_team(session, team_id, name=name, actor=ACTOR)

    report_team(transact(work), "Team renamed", as_json=as_json)


@app.command("close")
def close(team: Team, *, as_json: AsJson = False) -> None:
    """Close a team for good: its keys stop at once; its balance and its ledger stay."""

    async def work(session: AsyncSession) -> TeamRow:
        return await teams.close_team(session, (await team_named(session, team)).id, actor=ACTOR)

    closed = transact(work)
    report_team(closed, "Team closed", as_json=as_json)
    if closed.balance > 0 and not as_json:
        print_aside(f"{closed.balance:,} credits are left: `transfer` moves them")


@app.command("keys")
def keys(team: Team, *, as_json: AsJson = False) -> None:
    """List the keys of a team and who answers for them, revoked and expired ones too."""
    list_team_keys(team, as_json=as_json)


@app.command("invite")
def invite(
    team: Team,
    email: Annotated[
        str | None, typer.Argument(metavar="EMAIL", help="Who alone may use it.")
    ] = None,
    *,
    role: Annotated[
        Role, typer.Option("--role", help="What whoever uses it may do in the team.")
    ] = Role.MEMBER,
    base_url: Annotated[
        str,
        typer.Option(
            "--base-url",
            metavar="URL",
            help="Where users reach this server: https://proxy.example.com",
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Make a link by which a user joins a team, once, within 7 days; it is printed only now."""
    if base_url and not base_url.startswith(("http://", "https://")):
        msg = "this must begin with http:// or https://"
        raise typer.BadParameter(msg, param_hint="--base-url")

    async def work(session: AsyncSession) -> tuple[InvitationRow, str]:
        team_id = (await team_named(session, team)).id
        return await invitations.invite(session, team_id, role.value, email, actor=ACTOR)

    made, secret = transact(work)
    link = base_url.rstrip("/") + invitations.path_of_invitation(secret)
    if as_json:
        print_json({**_invitation_fields(made), "link": link, "secret": secret})
        return
    where = "" if base_url else ", below the address of this server"
    print_aside(f"Invitation created: {made.id}. Its link is shown only once{where}:")
    print_line(link)


@app.command("invitations")
def list_invitations(team: Team, *, as_json: AsJson = False) -> None:
    """List the invitations of a team that can be used, oldest first."""

    async def find(session: AsyncSession) -> Sequence[InvitationRow]:
        team_id = (await team_named(session, team)).id
        return await invitations.list_invitations(session, team_id)

    rows = [_invitation_fields(one) for one in transact(find)]
    if as_json:
        print_json(rows)
    else:
        print_table(_INVITATIONS, rows)


@app.command("withdraw")
def withdraw(
    team: Team,
    invitation_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=2**63 - 1)],
    *,
    as_json: AsJson = False,
) -> None:
    """Withdraw an invitation: its link stops working."""

    async def work(session: AsyncSession) -> InvitationRow:
        team_id = (await team_named(session, team)).id
        return await invitations.withdraw(session, team_id, invitation_id, actor=ACTOR)

    withdrawn = transact(work)
    if as_json:
        print_json(_invitation_fields(withdrawn))
    else:
        print_line(f"Invitation withdrawn: {withdrawn.id}")


def _invitation_fields(invitation: InvitationRow) -> Fields:
    return {
        "id": invitation.id,
        "email": invitation.email,
        "role": invitation.role,
        "created_by": invitation.created_by,
        "created_at": invitation.created_at,
        "expires_at": invitation.expires_at,
    }
