"""`tokenbalance alert ...` and `tokenbalance webhook ...`: who is told of what, and where."""

from dataclasses import asdict
from typing import Annotated, Final, TypeAlias, cast

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.alerts.thresholds import set_thresholds, thresholds_of
from tokenbalance.alerts.webhooks import (
    make_webhook,
    remove_webhook,
    try_webhook,
    webhooks_of,
)
from tokenbalance.alerts.written import alerts_page
from tokenbalance.cli.arguments import ACTOR, AsJson, read_credits
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import Fields, print_json, print_line, print_table
from tokenbalance.cli.payers import OfPayer, OfTeam, UserEmail, find_payer
from tokenbalance.database.paging import PAGE_ROWS

app = typer.Typer(name="alert", help="List alerts; set the balances that users are told of.")
webhooks = typer.Typer(name="webhook", help="Send alerts to addresses, signed.")

_ALERTS: Final = ("id", "event", "data", "created_at")
_WEBHOOKS: Final = ("id", "url", "events", "created_at", "last_delivery_at", "problem")

OfUser: TypeAlias = Annotated[
    str | None,
    typer.Option("--user", metavar="EMAIL", help="Those of a user.", show_default="the operator's"),
]
OrTeam: TypeAlias = Annotated[
    str | None, typer.Option("--team", metavar="TEAM", help="Those of a team, by its id or name.")
]


@app.command("list")
def list_alerts(*, user: OfUser = None, team: OrTeam = None, as_json: AsJson = False) -> None:
    """List the newest alerts of the operator, or of a user or a team."""
    _exclude_each_other(user, team)

    async def find(session: AsyncSession) -> list[Fields]:
        page = await alerts_page(session, await _account(session, user, team), None, PAGE_ROWS)
        return [cast("Fields", asdict(row)) for row in page.data]

    found = transact(find)
    if as_json:
        print_json(found)
    else:
        print_table(_ALERTS, [{**row, "data": _shown(row["data"])} for row in found])


@app.command("below", cls=OfPayer)
def set_below(
    email: UserEmail,
    credits: Annotated[  # noqa: A002 - the name in the help
        list[str] | None,
        typer.Argument(
            metavar="[CREDITS...]",
            help="Balances; 1 is for an empty one, 0 for none. Left out: they are shown.",
            show_default=False,
        ),
    ] = None,
    *,
    team: OfTeam = None,
    as_json: AsJson = False,
) -> None:
    """Set the balances below which a user or a team is told so, in place of those there are."""
    wanted = None if credits is None else {read_credits(one) for one in credits} - {0}

    async def change(session: AsyncSession) -> list[int]:
        account_id = (await find_payer(session, email, team)).id
        if wanted is None:
            return await thresholds_of(session, account_id)
        return await set_thresholds(session, account_id, wanted, ACTOR)

    below = transact(change)
    if as_json:
        print_json({**({"team": team} if team else {"user": email}), "below": below})
    else:
        print_line(", ".join(f"{one:,}" for one in below) or "none")


@webhooks.command("add")
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where alerts are sent to.")],
    *,
    user: OfUser = None,
    team: OrTeam = None,
    events: Annotated[
        list[str] | None,
        typer.Option(
            "--event", metavar="EVENT", help="Only these, such as balance.low.", show_default="all"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send alerts to an address from now on, and print its secret once."""
    _exclude_each_other(user, team)

    async def make(session: AsyncSession) -> Fields:
        account_id = await _account(session, user, team)
        row, secret = await make_webhook(session, account_id, url, events or (), actor=ACTOR)
        return {"id": row.id, "url": row.url, "events": list(row.events), "secret": secret}

    made = transact(make)
    if as_json:
        print_json(made)
    else:
        print_line(f"webhook {made['id']}; its secret, shown only now:")
        print_line(str(made["secret"]))


@webhooks.command("list")
def show(*, user: OfUser = None, team: OrTeam = None, as_json: AsJson = False) -> None:
    """List the addresses that alerts of the operator, or of a user or a team, are sent to."""
    _exclude_each_other(user, team)

    async def find(session: AsyncSession) -> list[Fields]:
        rows = await webhooks_of(session, await _account(session, user, team))
        return [cast("Fields", asdict(row)) for row in rows]

    found = transact(find)
    if as_json:
        print_json(found)
    else:
        print_table(
            _WEBHOOKS,
            [
                {**row, "events": " ".join(cast("tuple[str, ...]", row["events"])) or "all"}
                for row in found
            ],
        )


@webhooks.command("remove")
def remove(
    webhook_id: Annotated[int, typer.Argument(metavar="ID", help="Its id.")],
) -> None:
    """Send no more alerts to an address."""

    async def change(session: AsyncSession) -> None:
        await remove_webhook(session, webhook_id, None, actor=ACTOR)

    transact(change)
    print_line(f"webhook {webhook_id} removed")


@webhooks.command("test")
def try_out(
    webhook_id: Annotated[int, typer.Argument(metavar="ID", help="Its id.")],
) -> None:
    """Send an alert of type webhook.test to an address; a running server delivers it."""

    async def write(session: AsyncSession) -> None:
        await try_webhook(session, webhook_id, None, actor=ACTOR)

    transact(write)
    print_line(f"written for webhook {webhook_id}: `webhook list` shows whether it has arrived")


def _exclude_each_other(user: str | None, team: str | None) -> None:
    if user is not None and team is not None:
        msg = "--user and --team exclude each other"
        raise typer.BadParameter(msg)


async def _account(session: AsyncSession, email: str | None, team: str | None) -> int | None:
    if email is None and team is None:
        return None
    return (await find_payer(session, email or "", team)).id


def _shown(data: object) -> str:
    fields = cast("dict[str, object]", data)
    return ", ".join(f"{name} {value}" for name, value in fields.items() if value is not None)
