"""`tokenbalance balance ...`: show and change balances and overdrafts."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Final, TypeAlias

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.books.grants.due import bring_up_to_date
from tokenbalance.books.ledger.credits import Cause, add, set_balance
from tokenbalance.books.ledger.entries import Entry
from tokenbalance.books.ledger.overdrafts import set_overdraft
from tokenbalance.cli.arguments import (
    ACTOR,
    AMOUNTS_MAY_BE_NEGATIVE,
    AsJson,
    Email,
    Note,
    read_credits,
)
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import counted, print_aside, print_json, print_table
from tokenbalance.people.rows import UserRow
from tokenbalance.people.users import find_user

app = typer.Typer(name="balance", help="Show and change balances and overdrafts, in credits.")

Entering: TypeAlias = Callable[[AsyncSession, int, int, Cause], Awaitable[Entry]]

_AGAIN: Final[Mapping[Entering, str]] = {
    set_balance: "Set the balance again",
    add: "Take them away",
}
"""What to do where credits stayed."""


@app.command("show")
def show(email: Email, *, as_json: AsJson = False) -> None:
    """Show a balance, the credits held by running requests, and what is available."""

    async def find(session: AsyncSession) -> UserRow:
        await bring_up_to_date(session, (await find_user(session, email)).account.id)
        return await find_user(session, email)

    user = transact(find)
    if as_json:
        print_json({"user": user.id, **_funds(user)})
    else:
        _print(user)


@app.command("set", context_settings=AMOUNTS_MAY_BE_NEGATIVE)
def set_to(
    email: Email,
    target: Annotated[
        int, typer.Argument(metavar="N", parser=read_credits, help="New balance in credits.")
    ],
    *,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Set a balance, by an entry for the difference; what running requests hold stays."""
    _enter(set_balance, email, target, note, as_json=as_json)


@app.command("add", context_settings=AMOUNTS_MAY_BE_NEGATIVE)
def add_to(
    email: Email,
    amount: Annotated[
        int,
        typer.Argument(
            metavar="N", parser=read_credits, help="Credits to add; negative to take away."
        ),
    ],
    *,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Add credits, or take some away; what running requests hold stays."""
    _enter(add, email, amount, note, as_json=as_json)


@app.command("overdraft", context_settings=AMOUNTS_MAY_BE_NEGATIVE)
def set_overdraft_to(
    email: Email,
    overdraft: Annotated[
        int,
        typer.Argument(
            metavar="N", parser=read_credits, help="Credits that may be used beyond the balance."
        ),
    ],
    *,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Set how far below zero requests may take a balance."""
    _enter(set_overdraft, email, overdraft, note, as_json=as_json)


def _enter(entering: Entering, email: str, amount: int, note: str, *, as_json: bool) -> None:
    async def enter(session: AsyncSession) -> tuple[UserRow, Entry]:
        user = await find_user(session, email)
        entry = await entering(session, user.account.id, amount, Cause(ACTOR, note))
        return await find_user(session, email), entry

    user, entry = transact(enter)
    kept = entry.kept_for_holds
    if as_json:
        print_json({"user": user.id, **_funds(user), "kept_for_holds": kept})
        return
    _print(user)
    if kept:
        print_aside(
            f"{counted(kept, 'credit')} stayed: requests in flight hold them."
            f" {_AGAIN[entering]} when those requests have ended"
        )


def _print(user: UserRow) -> None:
    funds = _funds(user)
    print_table(["user", *funds], [{"user": user.email, **funds}])


def _funds(user: UserRow) -> dict[str, int]:
    account = user.account
    return {
        "balance": account.balance,
        "held": account.held,
        "available": account.available,
        "overdraft": account.overdraft,
    }
