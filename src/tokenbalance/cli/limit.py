"""`tokenbalance limit ...`: what limits many keys together, and what is left.

Of all keys of an account or, in a team, of those of a member or a project.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from tokenbalance.books.reports.limit_states import limit_states
from tokenbalance.cli.arguments import ACTOR, AsJson
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import print_json, print_line, print_table
from tokenbalance.cli.payers import OfPayer, OfTeam, UserEmail, find_payer
from tokenbalance.cli.subjects import OfMember, OfProject, Wanted, find_subject
from tokenbalance.cli.team_rows import limits_text, member_fields, project_fields
from tokenbalance.model.limits import (
    ACCOUNT,
    subject_of_key,
    subject_of_member,
    subject_of_project,
)
from tokenbalance.people.account_limits import change_account_limits
from tokenbalance.people.key_lists import list_keys
from tokenbalance.people.limit_text import read_limits
from tokenbalance.people.teams.members import change_member, list_members
from tokenbalance.people.teams.projects import change_project, list_projects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.cli.output import Document, Fields
    from tokenbalance.cli.payers import Payer
    from tokenbalance.model.limits import LimitState
    from tokenbalance.people.limits import LimitChanges
    from tokenbalance.people.rows import AccountRow

app = typer.Typer(name="limit", help="Show and set limits of an account, and what is left.")


@app.command("show", cls=OfPayer)
def show(email: UserEmail, *, team: OfTeam = None, as_json: AsJson = False) -> None:
    """Show the limits and budgets of an account and its parts, and what is left of each."""

    async def find(
        session: AsyncSession,
    ) -> tuple[AccountRow, Mapping[str, str], Sequence[LimitState]]:
        payer = await find_payer(session, email, team)
        subjects = await _subjects(session, payer)
        return payer.account, subjects, await limit_states(session, payer.id, [*subjects])

    account, subjects, states = transact(find)
    rows = [_fields(state) for state in states]
    if as_json:
        print_json({**_account(account), "data": rows})
        return
    print_line(_account_text(account))
    if rows:
        named = [{**row, "subject": subjects[cast("str", row["subject"])]} for row in rows]
        print_table([*rows[0]], named)


async def _subjects(session: AsyncSession, payer: Payer) -> Mapping[str, str]:
    """Return what of an account may have limits, each with how people call it."""
    subjects = {ACCOUNT: ACCOUNT}
    if payer.team is not None:
        for project in await list_projects(session, payer.id):
            subjects[subject_of_project(project.id)] = f"project {project.name}"
        for member in await list_members(session, payer.id):
            subjects[subject_of_member(member.user_id)] = f"member {member.email}"
    keys = [subject_of_key(key.id) for key in await list_keys(session, payer.id)]
    return {**subjects, **dict(zip(keys, keys, strict=True))}


@app.command("set", cls=OfPayer)
def set_limits(  # noqa: PLR0913 - a command has as many options as it needs
    email: UserEmail,
    limits: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=VALUE...", help="none as the value: no limit."),
    ] = None,
    *,
    team: OfTeam = None,
    member: OfMember = None,
    project: OfProject = None,
    time_zone: Annotated[
        str | None,
        typer.Option(
            "--time-zone", help="Where its days begin: an IANA name such as Europe/Berlin."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set limits of all keys of an account together, such as credits_per_day=1000."""
    wanted = Wanted(email, team, member, project)
    changes = read_limits(limits or ())
    if not changes and time_zone is None:
        msg = "nothing to change: see --help"
        raise typer.BadParameter(msg)
    if time_zone is not None and (member is not None or project is not None):
        msg = "a team has one time zone: --member and --project exclude --time-zone"
        raise typer.BadParameter(msg)
    changed, text = transact(lambda session: _change(session, wanted, changes, time_zone))
    if as_json:
        print_json(changed)
    else:
        print_line(text)


async def _change(
    session: AsyncSession, wanted: Wanted, changes: LimitChanges, time_zone: str | None
) -> tuple[Mapping[str, Document], str]:
    """Change limits; return what has them now, for programs and for people."""
    found = await find_subject(session, wanted)
    account_id = found.payer.id
    if found.member is not None:
        member = await change_member(
            session,
            account_id,
            found.member.user_id,
            by_superuser=True,
            actor=ACTOR,
            limits=changes,
        )
        return member_fields(member), f"Member {member.email}: {limits_text(member.limits)}"
    if found.project is not None:
        project = await change_project(
            session, account_id, found.project.id, by_superuser=True, actor=ACTOR, limits=changes
        )
        text = f"Project {project.id} {project.name}: {limits_text(project.limits)}"
        return project_fields(project), text
    account = await change_account_limits(session, account_id, changes, time_zone, actor=ACTOR)
    return _account(account), _account_text(account)


def _account(account: AccountRow) -> dict[str, Document]:
    return {
        "account_id": account.id,
        "user_id": account.user_id,
        "time_zone": account.time_zone,
        "limits": cast("Document", account.limits.as_document()),
    }


def _account_text(account: AccountRow) -> str:
    return f"Account {account.id}, {account.time_zone}: {limits_text(account.limits)}"


def _fields(state: LimitState) -> Fields:
    return {
        "subject": state.subject,
        "name": state.name,
        "unit": state.unit,
        "period": state.period,
        "amount": state.amount,
        "used": state.used,
        "reserved": state.reserved,
        "remaining": state.remaining,
        "resets_at": state.resets_at,
    }
