"""Warns about variables that look like settings and are none, such as misspelled ones.

Never shows a value.
"""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING, Final

from dotenv import dotenv_values
from pydantic import AliasChoices

from tokenbalance.cli.output import print_aside
from tokenbalance.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

_PREFIX: Final = "TOKENBALANCE_"
_OTHERS: Final = frozenset(
    {
        "TOKENBALANCE_KEY",  # a user's key, in the first steps of the README
        "TOKENBALANCE_WORKER_PLACE",  # set by this program for its workers
    }
)


def warn_of_unknown_settings() -> None:
    """Print a line for each unknown name in the environment and in `.env`."""
    known = _known()
    for name in sorted(_named() - _OTHERS - known):
        nearest = _nearest(name, known)
        hint = f"; did you mean {nearest}?" if nearest else ""
        print_aside(f"warning: {name} is not a setting and has no effect{hint}")


def _nearest(name: str, known: set[str]) -> str | None:
    # Without what all have in common, or everything would be similar.
    ends = sorted(one.removeprefix(_PREFIX) for one in known if one.startswith(_PREFIX))
    found = difflib.get_close_matches(name.removeprefix(_PREFIX), ends, 1)
    return f"{_PREFIX}{found[0]}" if found else None


def _named() -> set[str]:
    names: Iterable[str] = (*os.environ, *dotenv_values(".env"))
    return {name.upper() for name in names if name.upper().startswith(_PREFIX)}


def _known() -> set[str]:
    names: set[str] = set()
    for field in Settings.model_fields.values():
        alias = field.validation_alias
        names |= (
            {str(one) for one in alias.choices} if isinstance(alias, AliasChoices) else {str(alias)}
        )
    return names
