"""`tokenbalance ledger ...`: what happened to a balance, and the proof that the books are right."""

import asyncio
from dataclasses import asdict

import asyncpg
import typer
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.accounts.users import find_user
from tokenbalance.cli.arguments import AsJson, Email
from tokenbalance.cli.database import open_books, transact
from tokenbalance.cli.output import Fields, print_json, print_line, print_table
from tokenbalance.database.tables import LedgerEntry
from tokenbalance.ledger import report
from tokenbalance.ledger.audit import AuditReport, audit
from tokenbalance.settings import load_settings

app = typer.Typer(name="ledger", help="List entries, and verify the books.")


@app.command("list")
def list_entries(email: Email, *, as_json: AsJson = False) -> None:
    """List every entry of a user's account, oldest first."""

    async def find(session: AsyncSession) -> list[Fields]:
        user = await find_user(session, email)
        return [_entry_fields(entry) async for entry in report.entries(session, user.account.id)]

    found = transact(find)
    if as_json:
        print_json(found)
    else:
        columns = "id created_at kind amount balance_after estimated actor request_id note"
        print_table(columns.split(), found)


@app.command("verify")
def verify_ledger(*, as_json: AsJson = False) -> None:
    """Prove the invariants of the books, also while requests run. Exits with 1 if one is broken."""
    with open_books(load_settings()) as dsn:
        verdict = asyncio.run(_audit(dsn))
    if as_json:
        print_json(asdict(verdict))
    else:
        _print(verdict)
    if not verdict.ok:
        raise typer.Exit(1)


async def _audit(dsn: str) -> AuditReport:
    connection = await asyncpg.connect(dsn)
    try:
        return await audit(connection)
    finally:
        await connection.close()


def _print(verdict: AuditReport) -> None:
    for violation in verdict.violations:
        print_line(violation)
    if verdict.ok:
        print_line(
            f"ok: {verdict.accounts:,} accounts, {verdict.entries:,} entries,"
            f" {verdict.open_holds:,} open holds"
        )


def _entry_fields(entry: LedgerEntry) -> Fields:
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
