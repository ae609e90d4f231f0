"""`tokenbalance objects ...`: what users store at the upstream, and what nobody owns there."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Final, cast

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.cli.arguments import ACTOR, AsJson, Email
from tokenbalance.cli.database import open_books, transact
from tokenbalance.cli.output import Fields, counted, print_json, print_line, print_table
from tokenbalance.cli.payers import OfPayer, OfTeam, UserEmail, find_payer
from tokenbalance.cli.upstream_lists import LISTS, Listed, objects_of_upstream
from tokenbalance.database.connections import open_sessions
from tokenbalance.owners.stock import ADOPTABLE, NewOwner, adopt, known_of, objects_of
from tokenbalance.people.users import find_user
from tokenbalance.settings import Settings, load_settings

app = typer.Typer(name="objects", help="List what users store upstream, adopt and audit objects.")

_STORED: Final = ("id", "kind", "parent_id", "state", "bytes", "created_at", "expires_at")
_FOUND: Final = ("id", "kind", "bytes", "problem", "email")
_UNOWNED: Final = "nobody owns it"
_DELETED: Final = "deleted here, but the upstream has it"
_GONE: Final = "the upstream does not have it"


@app.command("list", cls=OfPayer)
def list_objects(
    email: UserEmail,
    *,
    team: OfTeam = None,
    kind: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Only these, such as file; item for items of responses."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the objects of a user or a team that the upstream stores, oldest first."""

    async def find(session: AsyncSession) -> list[Fields]:
        account_id = (await find_payer(session, email, team)).id
        return [cast("Fields", asdict(one)) for one in await objects_of(session, account_id, kind)]

    found = transact(find)
    if as_json:
        print_json(found)
    else:
        print_table(_STORED, found)


@app.command("adopt")
def adopt_objects(
    email: Email,
    ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Ids as the upstream has them.")
    ],
    *,
    kind: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Their kind.", show_default="what the id begins with"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make objects a user's that nobody owns; all of them or none."""
    if kind is not None and kind not in ADOPTABLE:
        msg = f"{kind!a} is not one of {', '.join(ADOPTABLE)}"
        raise typer.BadParameter(msg, param_hint="--kind")

    async def take(session: AsyncSession) -> list[Fields]:
        user = await find_user(session, email)
        owner = NewOwner(user.id, user.account.id)
        adopted = await adopt(session, ACTOR, owner, ids, kind)
        return [{"id": one, "kind": each, "email": user.email} for each, one in adopted]

    adopted = transact(take)
    if as_json:
        print_json(adopted)
    else:
        print_table(("id", "kind", "email"), adopted)


@app.command("audit")
def audit_objects(*, as_json: AsJson = False) -> None:
    """Compare files, vector stores, containers and batches with the upstream's lists."""
    settings = load_settings()
    with open_books(settings) as dsn:
        found = asyncio.run(_compare(settings, dsn))
    if as_json:
        print_json(found)
    elif found:
        print_table(_FOUND, found)
    else:
        print_line("ok: each object of the upstream has an owner, and each owner has it")
        return
    if not as_json:
        size = sum(cast("int", row["bytes"] or 0) for row in found)
        print_line(f"{counted(len(found), 'object')}, {counted(size, 'byte')}")


async def _compare(settings: Settings, dsn: str) -> list[Fields]:
    # What is made while the lists are read may be in only one of the two, so the table comes last.
    listed = await objects_of_upstream(settings, sorted(LISTS))
    found: list[Fields] = []
    async with open_sessions(dsn) as sessions, sessions() as session:
        for kind in sorted(LISTS):
            known = await known_of(session, kind)
            upstream = {row.id: row for row in listed if row.kind == kind}
            found += [
                _row(row, _DELETED if row.id in known else _UNOWNED, known.get(row.id, (None,))[0])
                for row in upstream.values()
                if known.get(row.id, (None, True))[1]
            ]
            found += [
                _row(Listed(kind, one, None), _GONE, email)
                for one, (email, is_deleted) in sorted(known.items())
                if not is_deleted and one not in upstream
            ]
    return found


def _row(row: Listed, problem: str, email: str | None) -> Fields:
    return {
        "id": row.id,
        "kind": row.kind,
        "bytes": row.bytes,
        "problem": problem,
        "email": email,
    }
