"""`tokenbalance balance ...`: show and change balances and overdrafts."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Final, TypeAlias

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.books.grants.due import bring_up_to_date
from tokenbalance.books.ledger.credits import Cause, add, set_balance
from tokenbalance.books.ledger.entries import Entry
from tokenbalance.books.ledger.overdrafts import set_overdraft
from tokenbalance.cli.arguments import ACTOR, AMOUNTS_MAY_BE_NEGATIVE, AsJson, Note, read_credits
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import Fields, counted, print_aside, print_json, print_table
from tokenbalance.cli.payers import OfPayer, OfTeam, Payer, UserEmail, find_payer

app = typer.Typer(name="balance", help="Show and change balances and overdrafts, in credits.")

Entering: TypeAlias = Callable[[AsyncSession, int, int, Cause], Awaitable[Entry]]

_AGAIN: Final[Mapping[Entering, str]] = {
    set_balance: "Set the balance again",
    add: "Take them away",
}
"""What to do where credits stayed."""


@app.command("show", cls=OfPayer)
def show(email: UserEmail, *, team: OfTeam = None, as_json: AsJson = False) -> None:
    """Show a balance, the credits held by running requests, and what is available."""

    async def find(session: AsyncSession) -> Payer:
        await bring_up_to_date(session, (await find_payer(session, email, team)).id)
        return await find_payer(session, email, team)

    payer = transact(find)
    if as_json:
        print_json(balance_fields(payer))
    else:
        print_balance(payer)


@app.command("set", cls=OfPayer, context_settings=AMOUNTS_MAY_BE_NEGATIVE)
def set_to(
    email: UserEmail,
    target: Annotated[
        int, typer.Argument(metavar="N", parser=read_credits, help="New balance in credits.")
    ],
    *,
    team: OfTeam = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Set a balance, by an entry for the difference; what running requests hold stays."""
    _enter(set_balance, (email, team), target, note, as_json=as_json)


@app.command("add", cls=OfPayer, context_settings=AMOUNTS_MAY_BE_NEGATIVE)
def add_to(
    email: UserEmail,
    amount: Annotated[
        int,
        typer.Argument(
            metavar="N", parser=read_credits, help="Credits to add; negative to take away."
        ),
    ],
    *,
    team: OfTeam = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Add credits, or take some away; what running requests hold stays."""
    _enter(add, (email, team), amount, note, as_json=as_json)


@app.command("overdraft", cls=OfPayer, context_settings=AMOUNTS_MAY_BE_NEGATIVE)
def set_overdraft_to(
    email: UserEmail,
    overdraft: Annotated[
        int,
        typer.Argument(
            metavar="N", parser=read_credits, help="Credits that may be used beyond the balance."
        ),
    ],
    *,
    team: OfTeam = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Set how far below zero requests may take a balance."""
    _enter(set_overdraft, (email, team), overdraft, note, as_json=as_json)


def balance_fields(payer: Payer) -> Fields:
    """Return what is shown of a balance: of a user's by the id, of a team's by the account."""
    account = payer.account
    if payer.team is None:
        return {"user": account.user_id, **_funds(payer)}
    return {"account_id": account.id, "team": payer.name, **_funds(payer)}


def print_balance(payer: Payer) -> None:
    """Print a balance for people."""
    funds = _funds(payer)
    whose = "team" if payer.team else "user"
    print_table([whose, *funds], [{whose: payer.name, **funds}])


def _enter(
    entering: Entering, whose: tuple[str, str | None], amount: int, note: str, *, as_json: bool
) -> None:
    async def enter(session: AsyncSession) -> tuple[Payer, Entry]:
        payer = await find_payer(session, *whose)
        entry = await entering(session, payer.id, amount, Cause(ACTOR, note))
        return await find_payer(session, *whose), entry

    payer, entry = transact(enter)
    kept = entry.kept_for_holds
    if as_json:
        print_json({**balance_fields(payer), "kept_for_holds": kept})
        return
    print_balance(payer)
    if kept:
        print_aside(
            f"{counted(kept, 'credit')} stayed: requests in flight hold them."
            f" {_AGAIN[entering]} when those requests have ended"
        )


def _funds(payer: Payer) -> dict[str, int]:
    account = payer.account
    return {
        "balance": account.balance,
        "held": account.held,
        "available": account.available,
        "overdraft": account.overdraft,
    }
