"""`tokenbalance budget ...`: caps on what keys, accounts and parts of teams use in each period."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from tokenbalance.cli.arguments import ACTOR, ISO, AsJson, read_credits, read_moment
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import print_json, print_line, print_table
from tokenbalance.cli.payers import OfPayer, OfTeam, UserEmail, find_payer
from tokenbalance.cli.subjects import OfMember, OfProject, Wanted, find_subject
from tokenbalance.people.budget_rows import BUDGET_UNITS
from tokenbalance.people.budgets import add_budget, list_budgets, remove_budget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.cli.output import Fields
    from tokenbalance.people.budget_rows import Budget

app = typer.Typer(
    name="budget", help="Add, list and remove budgets of accounts, keys, members, projects."
)

_COLUMNS: Final = (
    *("id", "key_id", "member_id", "project_id"),
    *("name", "amount", "unit", "every", "anchor"),
)


@app.command("add", cls=OfPayer)
def add(  # noqa: PLR0913 - the fields of a budget, by name
    email: UserEmail,
    amount: Annotated[
        int, typer.Argument(metavar="N", parser=read_credits, help="Credits in each period.")
    ],
    *,
    every: Annotated[
        str,
        typer.Option("--every", help="day, week, month, quarter, or a number such as '14 days'."),
    ],
    team: OfTeam = None,
    member: OfMember = None,
    project: OfProject = None,
    key: Annotated[
        int | None,
        typer.Option("--key", metavar="ID", help="Only of this key; default: of all its keys."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="What it is for; default: the period.")
    ] = None,
    unit: Annotated[str, typer.Option("--unit", help=f"{' or '.join(BUDGET_UNITS)}.")] = "credits",
    anchor: Annotated[
        str | None,
        typer.Option("--from", help=f"When the first of a number of days begins. {ISO}"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a budget: how much all keys of a user or a team, or some, may use in each period."""
    wanted = Wanted(email, team, member, project, key)
    begin = None if anchor is None else read_moment(anchor, "--from")

    async def work(session: AsyncSession) -> Budget:
        found = await find_subject(session, wanted)
        return await add_budget(
            session,
            found.payer.id,
            amount=amount,
            every=every,
            name=name,
            unit=unit,
            anchor=begin,
            key_id=key,
            member_id=found.member and found.member.user_id,
            project_id=found.project and found.project.id,
            by_superuser=True,
            actor=ACTOR,
        )

    _report(transact(work), "added", as_json=as_json)


@app.command("list", cls=OfPayer)
def list_all(email: UserEmail, *, team: OfTeam = None, as_json: AsJson = False) -> None:
    """List the budgets of an account and its parts; `limit show` says what is left."""

    async def find(session: AsyncSession) -> Sequence[Budget]:
        return await list_budgets(session, (await find_payer(session, email, team)).id)

    rows = [_fields(budget) for budget in transact(find)]
    if as_json:
        print_json(rows)
    else:
        print_table(_COLUMNS, rows)


@app.command("remove", cls=OfPayer)
def remove(
    email: UserEmail,
    budget_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=2**63 - 1)],
    *,
    team: OfTeam = None,
    as_json: AsJson = False,
) -> None:
    """Remove a budget, with what is used of it."""

    async def work(session: AsyncSession) -> Budget:
        account_id = (await find_payer(session, email, team)).id
        return await remove_budget(session, account_id, budget_id, by_superuser=True, actor=ACTOR)

    _report(transact(work), "removed", as_json=as_json)


def _report(budget: Budget, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(_fields(budget))
    else:
        print_line(
            f"Budget {done}: {budget.id} {budget.name}, {budget.amount:,} {budget.unit}"
            f" every {budget.every}, {_whose(budget)}"
        )


def _whose(budget: Budget) -> str:
    parts = {"key": budget.key_id, "member": budget.member_id, "project": budget.project_id}
    named = [f"{name} {number}" for name, number in parts.items() if number is not None]
    return named[0] if named else "account"


def _fields(budget: Budget) -> Fields:
    return {
        "id": budget.id,
        "account_id": budget.account_id,
        "key_id": budget.key_id,
        "member_id": budget.member_id,
        "project_id": budget.project_id,
        "name": budget.name,
        "unit": budget.unit,
        "amount": budget.amount,
        "every": budget.every,
        "anchor": budget.anchor,
        "created_at": budget.created_at,
    }
