"""`tokenbalance request ...`: one request, found by its id."""

from dataclasses import asdict
from typing import Annotated, Final

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.books.reports import Explanation, explain, find_request
from tokenbalance.cli.arguments import AsJson
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import Fields, print_json, print_line, print_table

app = typer.Typer(name="request", help="Show requests.")

_COLUMNS: Final = (
    *("request_id", "user", "created_at", "state", "endpoint", "model", "key"),
    *("hold", "total", "charge", "cost", "estimated"),
)
_LINE_COLUMNS: Final = ("kind", "tokens", "rate", "factor", "credits", "model")


@app.callback()
def _group() -> None:
    """Make `show` a subcommand, although it is the only one."""


@app.command("show")
def show(
    request_id: Annotated[
        str,
        typer.Argument(
            metavar="REQUEST_ID",
            help="From the header x-tokenbalance-request-id; its beginning is enough.",
        ),
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Show a request, what it held, used and cost, and by which rates and factors."""

    async def find(session: AsyncSession) -> Explanation:
        return await explain(session, await find_request(session, request_id))

    found = transact(find)
    if as_json:
        print_json(
            {
                **_fields(found),
                **_tiers(found),
                "lines": _lines(found),
                "notes": list(found.notes),
            }
        )
        return
    print_table(_COLUMNS, [_fields(found)])
    if found.request.rates is not None and (lines := _lines(found)):
        print_line("")
        print_table(_LINE_COLUMNS, lines)
    if found.notes:
        print_line("")
        for note in found.notes:
            print_line(note)


def _fields(found: Explanation) -> Fields:
    request, usage = found.request, found.request.usage
    return {
        "request_id": request.request_id,
        "user": request.email,
        "created_at": request.created_at,
        "ended_at": request.ended_at,
        "state": request.state,
        "endpoint": request.endpoint,
        "model": request.model,
        "key": request.key.prefix,
        "hold": request.hold,
        "input": usage and usage.input,
        "output": usage and usage.output,
        "total": usage and usage.total,
        "charge": request.charge,
        "overrun": request.overrun,
        "cost": found.cost,
        "estimated": request.estimated,
    }


def _tiers(found: Explanation) -> Fields:
    return {"tier_asked": found.tier_asked, "tier_served": found.tier_served}


def _lines(found: Explanation) -> list[Fields]:
    """Name the lines of the bill, and whose rates they have."""
    if found.bill is None:
        return []
    return [{**asdict(line), "model": found.models.get(line.kind)} for line in found.bill.lines]
