"""`tokenbalance limit ...`: what limits all keys of an account together, and what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from tokenbalance.books.reports.limit_states import limit_states
from tokenbalance.cli.arguments import ACTOR, AsJson, Email
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import print_json, print_line, print_table
from tokenbalance.model.limits import ACCOUNT, subject_of_key
from tokenbalance.people.account_limits import change_account_limits
from tokenbalance.people.key_lists import list_keys
from tokenbalance.people.limit_text import read_limits, written
from tokenbalance.people.users import find_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.cli.output import Document, Fields
    from tokenbalance.model.limits import LimitState
    from tokenbalance.people.rows import AccountRow

app = typer.Typer(name="limit", help="Show and set limits of an account, and what is left.")


@app.command("show")
def show(email: Email, *, as_json: AsJson = False) -> None:
    """Show the limits and budgets of a user's account and of its keys, and what is left of each."""

    async def find(session: AsyncSession) -> tuple[AccountRow, Sequence[LimitState]]:
        account = (await find_user(session, email)).account
        keys = await list_keys(session, account.id)
        subjects = [ACCOUNT, *(subject_of_key(key.id) for key in keys)]
        return account, await limit_states(session, account.id, subjects)

    account, states = transact(find)
    rows = [_fields(state) for state in states]
    if as_json:
        print_json({**_account(account), "data": rows})
        return
    _print(account)
    if rows:
        print_table([*rows[0]], rows)


@app.command("set")
def set_limits(
    email: Email,
    limits: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=VALUE...", help="none as the value: no limit."),
    ] = None,
    *,
    time_zone: Annotated[
        str | None,
        typer.Option(
            "--time-zone", help="Where its days begin: an IANA name such as Europe/Berlin."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set limits of all keys of an account together, such as credits_per_day=1000."""
    changes = read_limits(limits or ())
    if not changes and time_zone is None:
        msg = "nothing to change: see --help"
        raise typer.BadParameter(msg)

    async def change(session: AsyncSession) -> AccountRow:
        account_id = (await find_user(session, email)).account.id
        return await change_account_limits(session, account_id, changes, time_zone, actor=ACTOR)

    account = transact(change)
    if as_json:
        print_json(_account(account))
    else:
        _print(account)


def _account(account: AccountRow) -> dict[str, Document]:
    return {
        "account_id": account.id,
        "user_id": account.user_id,
        "time_zone": account.time_zone,
        "limits": cast("Document", account.limits.as_document()),
    }


def _print(account: AccountRow) -> None:
    values = account.limits.values().items()
    limits = [f"{name}={written(value)}" for name, value in values if value is not None]
    print_line(f"Account {account.id}, {account.time_zone}: {' '.join(limits) or 'no limits'}")


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
