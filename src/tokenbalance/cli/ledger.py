"""`tokenbalance ledger ...`: entries of an account, refunds, corrected prices, and the proof."""

import asyncio
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.alerts.operator import tell_operator
from tokenbalance.books import reports as report
from tokenbalance.books.ledger.audit import AuditReport, audit
from tokenbalance.books.ledger.credits import Cause
from tokenbalance.books.ledger.entries import Entry
from tokenbalance.books.ledger.refunds import refund
from tokenbalance.cli.arguments import ACTOR, AsJson, Note, read_credits
from tokenbalance.cli.database import open_books, transact
from tokenbalance.cli.ledger_rerate import rerate
from tokenbalance.cli.output import Fields, counted, print_json, print_line, print_table
from tokenbalance.cli.payers import OfPayer, OfTeam, UserEmail, find_payer
from tokenbalance.database.connections import CONNECT_TIMEOUT_S, connect, open_sessions
from tokenbalance.settings import load_settings

app = typer.Typer(name="ledger", help="List entries, refund and rerate requests, verify the books.")
_ = app.command("rerate")(rerate)

ENTRY_COLUMNS: Final = (
    *("id", "created_at", "kind", "amount", "balance_after"),
    *("estimated", "actor", "request_id", "note"),
)
TEAM_COLUMNS: Final = (*ENTRY_COLUMNS[:-1], "email", "note")
"""In a team the e-mail says who answers for the key of a request; empty: nobody does."""


@app.command("list", cls=OfPayer)
def list_entries(email: UserEmail, *, team: OfTeam = None, as_json: AsJson = False) -> None:
    """List every entry of the account of a user or a team, oldest first.

    Those of a team name the member who answers for the key, also after the member has left.
    """

    async def find(session: AsyncSession) -> list[Fields]:
        account_id = (await find_payer(session, email, team)).id
        return [
            {**entry_fields(entry), "email": entry.email}
            async for entry in report.entries(session, account_id)
        ]

    found = transact(find)
    if as_json:
        print_json(found)
    else:
        print_table(ENTRY_COLUMNS if team is None else TEAM_COLUMNS, found)


@app.command("refund")
def refund_request(
    request_id: Annotated[
        str, typer.Argument(metavar="REQUEST_ID", help="From the header x-tokenbalance-request-id.")
    ],
    *,
    amount: Annotated[
        int | None,
        typer.Option(
            metavar="N", parser=read_credits, help="Credits.", show_default="the whole charge"
        ),
    ] = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Refund the charge of a request, or part of it, with a ledger entry."""

    async def enter(session: AsyncSession) -> Fields:
        return entry_fields(await refund(session, request_id, amount, Cause(ACTOR, note)))

    entered = transact(enter)
    if as_json:
        print_json(entered)
    else:
        print_table(ENTRY_COLUMNS, [entered])


@app.command("verify")
def verify_ledger(*, as_json: AsJson = False) -> None:
    """Verify the invariants of the books, also under load. Exits with 1 if one is broken."""
    with open_books(load_settings()) as dsn:
        verdict = asyncio.run(_audit(dsn))
        if not verdict.ok:
            asyncio.run(_tell(dsn, verdict))
    if as_json:
        print_json(asdict(verdict))
    else:
        _print(verdict)
    if not verdict.ok:
        raise typer.Exit(1)


async def _audit(dsn: str) -> AuditReport:
    # Two connections, each for half of the work.
    connections = [await connect(dsn, timeout_s=CONNECT_TIMEOUT_S) for _ in range(2)]
    try:
        return await audit(*connections)
    finally:
        for connection in connections:
            connection.terminate()


async def _tell(dsn: str, verdict: AuditReport) -> None:
    """Write an alert, once a day; a database that takes none is no reason to hide the verdict."""
    today = datetime.now(UTC).date().isoformat()
    with suppress(DBAPIError):
        async with open_sessions(dsn) as sessions, sessions.begin() as session:
            await tell_operator(
                session, "books.violated", today, violations=len(verdict.violations)
            )


def _print(verdict: AuditReport) -> None:
    for violation in verdict.violations:
        print_line(violation)
    if verdict.ok:
        print_line(
            f"ok: {counted(verdict.accounts, 'account')},"
            f" {counted(verdict.entries, 'entry', 'entries')},"
            f" {counted(verdict.open_holds, 'open hold')}"
        )


def entry_fields(entry: Entry) -> Fields:
    """Return what is shown of an entry."""
    return {
        "id": entry.id,
        "kind": entry.kind,
        "amount": entry.amount,
        "balance_after": entry.balance_after,
        "request_id": entry.request_id,
        "actor": entry.actor,
        "note": entry.note,
        "estimated": entry.estimated,
        "created_at": entry.created_at,
    }
