"""`tokenbalance grant ...`: grant credits with an end, list what remains of grants."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.books.grants.burning import PRIORITY
from tokenbalance.books.grants.issuing import PRIORITY_MAX, GrantRow, NewGrant, grants_of, issue
from tokenbalance.books.ledger.credits import Cause
from tokenbalance.cli.arguments import ACTOR, ISO, AsJson, Note, read_credits, read_moment
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import Fields, print_aside, print_json, print_table
from tokenbalance.cli.payers import OfPayer, OfTeam, UserEmail, find_payer

app = typer.Typer(name="grant", help="Grant credits with an end, list what remains of grants.")

_FIELDS = ("id", "amount", "remaining", "priority", "expires_at", "allowance_id", "note")


@app.command("add", cls=OfPayer)
def add(  # noqa: PLR0913 - a command has as many options as it needs
    email: UserEmail,
    amount: Annotated[
        int, typer.Argument(metavar="N", parser=read_credits, help="Credits to grant.")
    ],
    *,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help=f"When they end; {ISO} Default: never."),
    ] = None,
    priority: Annotated[
        int,
        typer.Option("--priority", metavar="P", help=f"0 to {PRIORITY_MAX}; lower is spent first."),
    ] = PRIORITY,
    team: OfTeam = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Grant credits that may have an end; they are spent before those that end later."""
    end = None if expires is None else read_moment(expires, "--expires")
    new = NewGrant(amount=amount, expires_at=end, priority=priority)

    async def make(session: AsyncSession) -> list[GrantRow]:
        account_id = (await find_payer(session, email, team)).id
        entry = await issue(session, account_id, new, Cause(ACTOR, note))
        rows = await grants_of(session, account_id)
        return [row for row in rows if row.id == entry.id]

    made = transact(make)
    if as_json:
        print_json([_fields(row) for row in made])
    else:
        print_table(_FIELDS, [_fields(row) for row in made])
    if not made:
        print_aside("Nothing remains of it: the account owed as much")


@app.command("list", cls=OfPayer)
def show(email: UserEmail, *, team: OfTeam = None, as_json: AsJson = False) -> None:
    """List what remains of grants, first what is spent first."""

    async def find(session: AsyncSession) -> list[Fields]:
        account_id = (await find_payer(session, email, team)).id
        return [_fields(row) for row in await grants_of(session, account_id)]

    rows = transact(find)
    if as_json:
        print_json(rows)
    else:
        print_table(_FIELDS, rows)


def _fields(row: GrantRow) -> Fields:
    return {
        "id": row.id,
        "amount": row.amount,
        "remaining": row.remaining,
        "priority": row.priority,
        "expires_at": row.expires_at,
        "allowance_id": row.allowance_id,
        "note": row.note,
    }
