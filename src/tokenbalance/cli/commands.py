"""All commands, by name: what `--help` says of each, and where to find it.

Each has its own file, imported when it is called: `--help` and a misspelled name import none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer._click import Command, Context


_MARKUP: Final = None
"""Help is plain text: rich takes longer to import than all else that `--help` needs."""


class _Place(NamedTuple):
    file: str
    attribute: str
    help: str


_PLACES: Final = {
    "serve": _Place(
        "serve", "serve", "Serve the proxy, with DATABASE_URL or an embedded Postgres."
    ),
    "migrate": _Place(
        "migrate",
        "migrate_database",
        "Migrate the database to the newest schema. Safe to repeat.",
    ),
    "createsuperuser": _Place(
        "user",
        "create_superuser",
        "Create a user who may manage others; asks for a password on a terminal.",
    ),
    "sandbox": _Place(
        "sandbox",
        "serve_sandbox",
        "Serve a small fake OpenAI on 127.0.0.1, for clients and tests.",
    ),
    "user": _Place("user", "app", "Create, list, disable and enable users; set passwords."),
    "sign-in": _Place(
        "sign_in", "app", "List and end sign-in tokens; let a user sign in without waiting."
    ),
    "team": _Place("team", "app", "Create and change teams, their members and projects."),
    "tag": _Place("tag", "app", "List tags; credit, disable or enable everybody who has one."),
    "key": _Place("key", "app", "Create, list, change, rotate and revoke API keys."),
    "limit": _Place("limit", "app", "Show and set limits of an account, and what is left."),
    "budget": _Place(
        "budget", "app", "Add, list and remove budgets of accounts, keys, members, projects."
    ),
    "balance": _Place("balance", "app", "Show and change balances and overdrafts, in credits."),
    "transfer": _Place(
        "transfer", "move_credits", "Move credits from one account to another, of a user or a team."
    ),
    "grant": _Place("grant", "app", "Grant credits with an end, list what remains of grants."),
    "allowance": _Place("allowance", "app", "Issue credits each day, week or month."),
    "ledger": _Place(
        "ledger", "app", "List entries, refund and rerate requests, verify the books."
    ),
    "usage": _Place("usage", "app", "Export usage, show refusals."),
    "request": _Place("request", "app", "Show requests."),
    "events": _Place("events", "app", "List what superusers, commands and the server changed."),
    "objects": _Place("objects", "app", "List what users store upstream, adopt and audit objects."),
    "alert": _Place("alert", "app", "List alerts; set the balances that users are told of."),
    "webhook": _Place("alert", "webhooks", "Send alerts to addresses, signed."),
    "rates": _Place("rates", "app", "Propose rates from known prices, check the rate card."),
    "models": _Place("models", "app", "Show the facts about models that bound their requests."),
}


def imported(name: str) -> TyperCommand | TyperGroup:
    """Import a command, or a group of them."""
    place = _PLACES[name]
    file = import_module(f"tokenbalance.cli.{place.file}")
    found = cast("typer.Typer | Callable[..., None]", getattr(file, place.attribute))
    holder = typer.Typer(callback=_make_group, add_completion=False, rich_markup_mode=_MARKUP)
    if isinstance(found, typer.Typer):
        found.rich_markup_mode = _MARKUP
        holder.add_typer(found)
    else:
        _ = holder.command(name)(found)
    command = cast("TyperGroup", get_command(holder)).commands[name]
    if isinstance(command, TyperGroup):
        _list_in_full(command)
    return cast("TyperCommand | TyperGroup", command)


def _list_in_full(group: TyperGroup) -> None:
    """List commands with all of their first paragraph; without this it is cut to fit a line."""
    for command in group.commands.values():
        command.short_help = (command.help or "").partition("\n\n")[0]
        if isinstance(command, TyperGroup):
            _list_in_full(command)


def _make_group() -> None:
    """Make a group of one command, which would be taken for the command itself."""


class _Commands(TyperGroup):
    """Lists commands by what is said of them here, and imports the one that is called."""

    @override
    def resolve_command(
        self, ctx: Context, args: list[str]
    ) -> tuple[str | None, Command | None, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else imported(name), rest


app: Final = _Commands(
    name="tokenbalance",
    help="OpenAI access handed out by prepaid balance.",
    commands={name: TyperCommand(name, help=place.help) for name, place in _PLACES.items()},
    rich_markup_mode=_MARKUP,
)
_list_in_full(app)
