"""`tokenbalance rates ...`: prices from a catalogue, and what the rate card does not cover.

Neither command writes a file: the operator changes the card.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Final

import typer

from tokenbalance.cli.arguments import AsJson  # noqa: TC001 - as above

app = typer.Typer(name="rates", help="Propose rates from known prices, check the rate card.")

DAYS_MAX: Final = 3660


class Origin(StrEnum):
    """Where prices come from."""

    GENAI_PRICES = "genai-prices"


class UnitName(StrEnum):
    """What a credit is worth."""

    MICRO_DOLLARS = "micro-dollars"
    WEIGHTED_TOKENS = "weighted-tokens"


@app.command("propose")
def propose(  # noqa: PLR0913 - each is an option of its own
    *,
    origin: Annotated[
        Origin, typer.Option("--from", help="The catalogue, which must be installed.")
    ] = Origin.GENAI_PRICES,
    card: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The card to compare with.",
            show_default="that of TOKENBALANCE_RATE_CARD",
        ),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Print a whole card and compare with none.")
    ] = False,
    unit: Annotated[
        UnitName, typer.Option(help="What a credit of the card is worth.")
    ] = UnitName.MICRO_DOLLARS,
    models: Annotated[str, typer.Option(metavar="GLOB", help="Only models like this.")] = "*",
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 if there is a difference.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print a rate card with known prices, or how yours differs from them. Writes no file."""
    from tokenbalance.cli.rates import proposing  # noqa: PLC0415 - only what is called is imported

    del origin  # there is one
    wanted = proposing.Wanted(unit.value, models, dt.datetime.now(dt.UTC).date(), as_json=as_json)
    differs = proposing.print_card(wanted) if whole else proposing.print_either(wanted, card)
    if differs and exit_code:
        raise typer.Exit(1)


@app.command("check")
def check(
    *,
    days: Annotated[
        int, typer.Option(metavar="N", min=1, max=DAYS_MAX, help="Of the requests looked at.")
    ] = 30,
    as_json: AsJson = False,
) -> None:
    """Tell which models in use have no price or will be shut down. Exits with 1 if any."""
    from tokenbalance.cli.rates import checking  # noqa: PLC0415 - as above

    if not checking.print_findings(days, as_json=as_json):
        raise typer.Exit(1)
