"""Arguments and options that several commands share."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final, TypeAlias

import typer

from tokenbalance.model import CLI

ACTOR: Final = CLI
"""Who changes something with these commands, as it is written down."""

Email: TypeAlias = Annotated[
    str, typer.Argument(metavar="EMAIL", help="The user's e-mail; case is ignored.")
]
Team: TypeAlias = Annotated[
    str, typer.Argument(metavar="TEAM", help="Its id, or its name if no other team has it.")
]
Note: TypeAlias = Annotated[str, typer.Option("--note", help="Reason, kept in the ledger.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print only JSON.")]

_NUMBER: Final = re.compile(r"[+-]?[0-9][0-9,_]*")
_CHARS_READ: Final = 40
"""Whatever is longer is larger than any amount, also without its end."""

AMOUNTS_MAY_BE_NEGATIVE: Final = {"ignore_unknown_options": True}
"""Lets `-5` be an argument rather than the option 5."""


def read_credits(text: str | int) -> int:
    """Read a number of credits, as people and tables write them: 1000 or 1,000.

    An option's default, which typer passes here as well, may be a number.

    Raises:
        typer.BadParameter: it is not a whole number.

    """
    if isinstance(text, int):
        return text
    if not _NUMBER.fullmatch(text):
        msg = "this must be a whole number of credits, such as 1000"
        raise typer.BadParameter(msg)
    return int(re.sub("[,_]", "", text)[:_CHARS_READ])


ISO: Final = "ISO 8601, a date or a time; UTC where it names no zone."


def read_moment(text: str, option: str) -> datetime:
    """Read the value of an option that is a time.

    Raises:
        typer.BadParameter: it is not one.

    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!a} is not {ISO}", param_hint=option) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
