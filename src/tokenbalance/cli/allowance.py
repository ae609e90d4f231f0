"""`tokenbalance allowance ...`: credits that come each day, week or month."""

from collections.abc import Sequence
from typing import Annotated, Final, cast, get_args

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.books.grants.allowances import (
    AllowanceRow,
    NewAllowance,
    UnknownAllowance,
    allowances_of,
    change,
    create,
    remove,
)
from tokenbalance.books.grants.calendar import Every
from tokenbalance.books.ledger.credits import Cause
from tokenbalance.cli.arguments import ACTOR, ISO, AsJson, Note, read_credits, read_moment
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import Fields, print_json, print_table
from tokenbalance.cli.payers import OfPayer, OfTeam, UserEmail, find_payer

app = typer.Typer(name="allowance", help="Issue credits each day, week or month.")

_EVERY: Final[tuple[str, ...]] = get_args(Every)
_FIELDS: Final = (
    "id",
    "amount",
    "every",
    "rollover_max",
    "starts_at",
    "ends_at",
    "next_at",
    "note",
)


@app.command("set", cls=OfPayer)
def set_to(  # noqa: PLR0913 - a command has as many options as it needs
    email: UserEmail,
    amount: Annotated[
        int, typer.Argument(metavar="N", parser=read_credits, help="Credits each period.")
    ],
    *,
    every: Annotated[str, typer.Option("--every", metavar="PERIOD", help=f"{', '.join(_EVERY)}.")],
    rollover: Annotated[
        int,
        typer.Option(
            "--rollover",
            metavar="N",
            parser=read_credits,
            help="Credits that are carried over into the next period at most.",
        ),
    ] = 0,
    starts: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help=f"From when periods are counted; {ISO} Default: now, by the calendar.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help=f"When it ends; {ISO} Default: never."),
    ] = None,
    team: OfTeam = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Issue credits each period, the first at once; replaces the allowance of that period.

    Another amount counts from the next period on.
    """
    if every not in _EVERY:
        raise typer.BadParameter(f"this must be {', '.join(_EVERY)}", param_hint="--every")
    new = NewAllowance(
        amount=amount,
        every=cast("Every", every),
        starts_at=None if starts is None else read_moment(starts, "--from"),
        ends_at=None if until is None else read_moment(until, "--until"),
        rollover_max=rollover,
    )

    async def make(session: AsyncSession) -> AllowanceRow:
        account_id = (await find_payer(session, email, team)).id
        cause = Cause(ACTOR, note)
        for row in await allowances_of(session, account_id):
            if row.every == every and starts is None:
                changes = {
                    "amount": amount,
                    "rollover_max": rollover,
                    "ends_at": new.ends_at,
                }
                return await change(session, account_id, row.id, changes, cause)
        return await create(session, account_id, new, cause)

    _print([transact(make)], as_json=as_json)


@app.command("list", cls=OfPayer)
def show(email: UserEmail, *, team: OfTeam = None, as_json: AsJson = False) -> None:
    """List the allowances of a user or a team."""

    async def find(session: AsyncSession) -> Sequence[AllowanceRow]:
        return await allowances_of(session, (await find_payer(session, email, team)).id)

    _print(transact(find), as_json=as_json)


@app.command("remove", cls=OfPayer)
def take_away(
    email: UserEmail,
    number: Annotated[
        int | None, typer.Argument(metavar="ID", help="Which one; needed if there are several.")
    ] = None,
    *,
    team: OfTeam = None,
    as_json: AsJson = False,
) -> None:
    """Remove an allowance: it issues nothing more; what it has issued stays until its end."""

    async def find(session: AsyncSession) -> AllowanceRow:
        account_id = (await find_payer(session, email, team)).id
        which = number if number is not None else await _only(session, account_id)
        return await remove(session, account_id, which, Cause(ACTOR))

    _print([transact(find)], as_json=as_json)


async def _only(session: AsyncSession, account_id: int) -> int:
    rows = await allowances_of(session, account_id)
    if len(rows) != 1:
        ids = ", ".join(str(row.id) for row in rows)
        msg = f"Name one of the allowances: {ids}" if ids else "The account has no allowance"
        raise UnknownAllowance(msg)
    return rows[0].id


def _print(rows: Sequence[AllowanceRow], *, as_json: bool) -> None:
    fields = [_fields(row) for row in rows]
    if as_json:
        print_json(fields)
    else:
        print_table(_FIELDS, fields)


def _fields(row: AllowanceRow) -> Fields:
    return {
        "id": row.id,
        "amount": row.amount,
        "every": row.every,
        "rollover_max": row.rollover_max,
        "starts_at": row.starts_at,
        "ends_at": row.ends_at,
        "next_at": row.next_at,
        "note": row.note,
    }
