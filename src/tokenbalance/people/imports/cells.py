"""From the cells of a line to a person who is to be a user. Pure; says what each column may be.

email                          required
name
credits                        the opening balance
allowance, every               credits each day, week or month
tag                            one or more, separated by spaces
parallel_requests, ...         any limit, of the user's account; lists are separated by spaces
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast, get_args

from tokenbalance.model import JSON_INTEGER_MAX
from tokenbalance.model.limits import COUNTED
from tokenbalance.model.values import value
from tokenbalance.people.imports.mistakes import Mistake
from tokenbalance.people.limits import LIMIT_MAX, InvalidLimit, limit_value
from tokenbalance.people.tag_names import clean_tags
from tokenbalance.people.users import UserError, clean_email, clean_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from tokenbalance.people.imports.reading import Line

    T = TypeVar("T")

Every: TypeAlias = Literal["day", "week", "month"]
_NUMBERS: Final = (*COUNTED, "credits_per_request")
_LISTS: Final = ("models", "endpoints", "addresses", "service_tiers", "tools")
LIMIT_COLUMNS: Final = (*_NUMBERS, *_LISTS)
COLUMNS: Final = ("email", "name", "credits", "allowance", "every", "tag", *LIMIT_COLUMNS)
_WHOLE: Final = re.compile(r"[0-9][0-9,_ ]*")
_DIGITS_MAX: Final = 40


@value
class Allowance:
    """Credits that come again in each period."""

    amount: int
    every: Every


@value
class Person:
    """Who is to be a user."""

    line: int
    email: str
    """As it is stored."""
    name: str
    credits: int
    """0: none."""
    allowance: Allowance | None
    tags: tuple[str, ...]
    limits: Mapping[str, int | tuple[str, ...]]
    """Of the account, by name."""


def read_person(line: Line) -> tuple[Person | None, list[Mistake]]:
    """Read a line; None if its e-mail cannot be read."""
    mistakes: list[Mistake] = []

    def read(column: str, of: Callable[[str], T], otherwise: T) -> T:
        cell = line.cells.get(column)
        if cell is None:
            return otherwise
        try:
            return of(cell)
        except (ValueError, UserError) as error:
            mistakes.append(Mistake(line.number, column, _reason(error)))
            return otherwise

    if "email" not in line.cells:
        mistakes.append(Mistake(line.number, "email", "is missing"))
    email = read("email", clean_email, "")
    person = Person(
        line=line.number,
        email=email,
        name=read("name", clean_name, ""),
        credits=read("credits", _credits, 0),
        allowance=_allowance(
            line.number, read("allowance", _credits, 0), read("every", _every, None), mistakes
        ),
        tags=read("tag", lambda cell: clean_tags(_words(cell)), ()),
        limits={
            column: read(column, lambda cell, name=column: _limit(name, cell), 0)
            for column in LIMIT_COLUMNS
            if column in line.cells
        },
    )
    return (person if email else None), mistakes


def _allowance(
    number: int, amount: int, every: Every | None, mistakes: list[Mistake]
) -> Allowance | None:
    if amount and every:
        return Allowance(amount, every)
    if (amount or every) and not any(m.field in {"allowance", "every"} for m in mistakes):
        missing = "every" if amount else "allowance"
        mistakes.append(Mistake(number, missing, "`allowance` and `every` need each other"))
    return None


def _credits(cell: str) -> int:
    return _whole(cell, JSON_INTEGER_MAX)


def _every(cell: str) -> Every:
    every = cell.lower()
    if every not in get_args(Every):
        msg = f"must be one of {', '.join(get_args(Every))}"
        raise ValueError(msg)
    return cast("Every", every)


def _limit(name: str, cell: str) -> int | tuple[str, ...]:
    if name in _LISTS:
        limit: int | tuple[str, ...] = tuple(_words(cell))
    else:
        limit = _whole(cell, LIMIT_MAX)
    return limit_value(name, limit) or limit


def _whole(cell: str, largest: int) -> int:
    # The text may be of any length, and so may a number of Python.
    number = int(re.sub("[,_ ]", "", cell)[:_DIGITS_MAX]) if _WHOLE.fullmatch(cell) else 0
    if not 1 <= number <= largest:
        msg = f"must be a whole number from 1 to {largest:,}"
        raise ValueError(msg)
    return number


def _words(cell: str) -> list[str]:
    return cell.replace("|", " ").split()


def _reason(error: Exception) -> str:
    """Say what is wrong without the field, which the mistake names."""
    text = str(error)
    return text.removeprefix(f"{error.field}: ") if isinstance(error, InvalidLimit) else text
