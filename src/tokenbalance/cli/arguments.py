"""Arguments and options that several commands share."""

from typing import Annotated, Final, TypeAlias

import typer

from tokenbalance.model import CLI

ACTOR: Final = CLI
"""Who changes something with these commands, as it is written down."""

Email: TypeAlias = Annotated[
    str, typer.Argument(metavar="EMAIL", help="The user's e-mail; case is ignored.")
]
Note: TypeAlias = Annotated[str, typer.Option("--note", help="Reason, kept in the ledger.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print only JSON.")]

AMOUNTS_MAY_BE_NEGATIVE: Final = {"ignore_unknown_options": True}
"""Lets `-5` be an argument rather than the option 5."""
