"""`tokenbalance budget ...`: caps on what keys and accounts use in each period."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tokenbalance.cli.arguments import ACTOR, ISO, AsJson, Email, read_credits, read_moment
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import print_json, print_line, print_table
from tokenbalance.people.budget_rows import BUDGET_UNITS
from tokenbalance.people.budgets import add_budget, list_budgets, remove_budget
from tokenbalance.people.users import find_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.cli.output import Fields
    from tokenbalance.people.budget_rows import Budget

app = typer.Typer(name="budget", help="Add, list and remove budgets of accounts and keys.")


@app.command("add")
def add(  # noqa: PLR0913 - the fields of a budget, by name
    email: Email,
    amount: Annotated[
        int, typer.Argument(metavar="N", parser=read_credits, help="Credits in each period.")
    ],
    *,
    every: Annotated[
        str,
        typer.Option("--every", help="day, week, month, quarter, or a number such as '14 days'."),
    ],
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
    """Add a budget: how much all keys of a user, or one, may use in each period."""
    begin = None if anchor is None else read_moment(anchor, "--from")

    async def work(session: AsyncSession) -> Budget:
        account_id = (await find_user(session, email)).account.id
        return await add_budget(
            session,
            account_id,
            amount=amount,
            every=every,
            name=name,
            unit=unit,
            anchor=begin,
            key_id=key,
            by_superuser=True,
            actor=ACTOR,
        )

    _report(transact(work), "added", as_json=as_json)


@app.command("list")
def list_all(email: Email, *, as_json: AsJson = False) -> None:
    """List the budgets of a user's account and keys; `limit show` says what is left."""

    async def find(session: AsyncSession) -> Sequence[Budget]:
        return await list_budgets(session, (await find_user(session, email)).account.id)

    rows = [_fields(budget) for budget in transact(find)]
    if as_json:
        print_json(rows)
    else:
        print_table(["id", "key_id", "name", "amount", "unit", "every", "anchor"], rows)


@app.command("remove")
def remove(
    email: Email,
    budget_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=2**63 - 1)],
    *,
    as_json: AsJson = False,
) -> None:
    """Remove a budget, with what is used of it."""

    async def work(session: AsyncSession) -> Budget:
        account_id = (await find_user(session, email)).account.id
        return await remove_budget(session, account_id, budget_id, by_superuser=True, actor=ACTOR)

    _report(transact(work), "removed", as_json=as_json)


def _report(budget: Budget, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(_fields(budget))
    else:
        whose = "account" if budget.key_id is None else f"key {budget.key_id}"
        print_line(
            f"Budget {done}: {budget.id} {budget.name}, {budget.amount:,} {budget.unit}"
            f" every {budget.every}, {whose}"
        )


def _fields(budget: Budget) -> Fields:
    return {
        "id": budget.id,
        "account_id": budget.account_id,
        "key_id": budget.key_id,
        "name": budget.name,
        "unit": budget.unit,
        "amount": budget.amount,
        "every": budget.every,
        "anchor": budget.anchor,
        "created_at": budget.created_at,
    }
