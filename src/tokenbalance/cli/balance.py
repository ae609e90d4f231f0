"""`tokenbalance balance ...`: show and change balances."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.books.ledger.credits import Cause, add, set_balance
from tokenbalance.books.ledger.entries import Entry
from tokenbalance.cli.arguments import ACTOR, AMOUNTS_MAY_BE_NEGATIVE, AsJson, Email, Note
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import print_json, print_table
from tokenbalance.people.rows import UserRow
from tokenbalance.people.users import find_user

app = typer.Typer(name="balance", help="Show and change balances, in credits.")

Entering: TypeAlias = Callable[[AsyncSession, int, int, Cause], Awaitable[Entry]]


@app.command("show")
def show(email: Email, *, as_json: AsJson = False) -> None:
    """Show a balance, the credits held by running requests, and what is available."""
    _print(transact(lambda session: find_user(session, email)), as_json=as_json)


@app.command("set", context_settings=AMOUNTS_MAY_BE_NEGATIVE)
def set_to(
    email: Email,
    target: Annotated[int, typer.Argument(metavar="N", help="New balance in credits.")],
    *,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Set a balance; the ledger gets an entry for the difference."""
    _enter(set_balance, email, target, note, as_json=as_json)


@app.command("add", context_settings=AMOUNTS_MAY_BE_NEGATIVE)
def add_to(
    email: Email,
    amount: Annotated[
        int, typer.Argument(metavar="N", help="Credits to add; negative to take away.")
    ],
    *,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Add credits, or take some away."""
    _enter(add, email, amount, note, as_json=as_json)


def _enter(entering: Entering, email: str, amount: int, note: str, *, as_json: bool) -> None:
    async def enter(session: AsyncSession) -> UserRow:
        user = await find_user(session, email)
        _ = await entering(session, user.account.id, amount, Cause(ACTOR, note))
        return await find_user(session, email)

    _print(transact(enter), as_json=as_json)


def _print(user: UserRow, *, as_json: bool) -> None:
    account = user.account
    funds = {"balance": account.balance, "held": account.held, "available": account.available}
    if as_json:
        print_json({"user": user.id, **funds})
    else:
        print_table(["user", *funds], [{"user": user.email, **funds}])
