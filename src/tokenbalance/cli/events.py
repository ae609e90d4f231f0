"""`tokenbalance events ...`: what superusers, commands and the server have changed."""

import asyncio
from dataclasses import replace
from typing import Annotated, Final, cast

import orjson
import typer

from tokenbalance.cli.arguments import ISO, AsJson, read_moment
from tokenbalance.cli.database import open_books
from tokenbalance.cli.output import Fields, print_json, print_table
from tokenbalance.database.connections import open_sessions
from tokenbalance.events import RECORDED
from tokenbalance.events.reading import EVENT_COLUMNS, EventQuery, EventRow, export_events
from tokenbalance.people.users import find_user
from tokenbalance.settings import load_settings

app = typer.Typer(name="events", help="List what superusers, commands and the server changed.")

_SHOWN: Final = ("id", "at", "event", "actor", "email", "key_id", "request_id", "details")


@app.callback()
def _group() -> None:
    """Make `list` a subcommand, although it is the only one."""


@app.command("list")
def list_events(  # noqa: PLR0913 - each is an option of its own
    *,
    since: Annotated[
        str | None, typer.Option(metavar="D", help=f"From this moment on. {ISO}")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="D", help="Before this moment.")] = None,
    event: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this event, such as key.created.")
    ] = None,
    actor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only of this e-mail, cli or server.")
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="EMAIL", help="Only about this user.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what was changed, by whom and when, oldest first."""
    query = EventQuery(
        actor=_printable(actor),
        event=_known(event),
        since=None if since is None else read_moment(since, "--since"),
        until=None if until is None else read_moment(until, "--until"),
    )
    with open_books(load_settings()) as dsn:
        found = asyncio.run(_find(dsn, query, user))
    if as_json:
        print_json([_fields(row) for row in found])
    else:
        print_table(_SHOWN, [_cells(row) for row in found])


async def _find(dsn: str, query: EventQuery, email: str | None) -> list[EventRow]:
    async with open_sessions(dsn) as sessions:
        if email is not None:
            async with sessions() as session:
                query = replace(query, user_id=(await find_user(session, email)).id)
        return [row async for batch in export_events(sessions, query) for row in batch]


def _printable(actor: str | None) -> str | None:
    if actor is not None and not actor.isprintable():
        msg = "control characters are not accepted"
        raise typer.BadParameter(msg, param_hint="--actor")
    return actor


def _known(event: str | None) -> str | None:
    if event is not None and event not in RECORDED:
        msg = f"{event!a} is not one of {', '.join(RECORDED)}"
        raise typer.BadParameter(msg, param_hint="--event")
    return event


def _fields(row: EventRow) -> Fields:
    return cast("Fields", {name: getattr(row, name) for name in EVENT_COLUMNS})


def _cells(row: EventRow) -> Fields:
    return {**_fields(row), "details": orjson.dumps(row.details).decode()}
