"""The types of fields of the management routes, with their bounds. Reads nothing.

In a path or a query everything is text: a number must be written in digits, so that each thing has
one address. Fields of bodies must have their JSON type.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Final, TypeAlias

from fastapi import Query
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from tokenbalance.books.ledger.credits import CREDITS_MAX, TOO_LARGE
from tokenbalance.database.ids import ID_MAX
from tokenbalance.database.paging import PAGE_ROWS, PAGE_ROWS_MAX

CURSOR_CHARS_MAX: Final = 1000
TEXT_CHARS_MAX: Final = 1000
_TOO_LARGE: Final = f"{TOO_LARGE[:1].upper()}{TOO_LARGE[1:]}"
_DIGITS: Final = re.compile(r"[0-9]{1,19}")


def _number(value: object) -> object:
    """Read a number of a path or a query."""
    if not isinstance(value, str):
        return value
    if not _DIGITS.fullmatch(value):
        kind = "int_parsing"
        raise PydanticCustomError(kind, "a whole number in digits is expected")
    return int(value)


def _moment(value: object) -> object:
    """Read a date or a time in ISO 8601; UTC if it has no time zone."""
    if value is None:
        return None
    if not isinstance(value, str):
        kind = "datetime_type"
        raise PydanticCustomError(kind, "a string with a date or a time is expected")
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        kind = "value_error"
        message = "a date or a time in ISO 8601 is expected, such as 2030-01-31T12:00:00Z"
        raise PydanticCustomError(kind, message) from None


def _writable(value: str) -> str:
    """Refuse control characters, some of which the database cannot hold."""
    if not value.isprintable():
        kind = "value_error"
        raise PydanticCustomError(kind, "control characters are not accepted")
    return value


def _bounded(value: object) -> object:
    """Refuse what is beyond every amount as the books do."""
    if isinstance(value, int) and value > CREDITS_MAX:
        kind = "less_than_equal"
        raise PydanticCustomError(kind, "{reason}", {"reason": _TOO_LARGE})
    return value


Number: TypeAlias = Annotated[int, BeforeValidator(_number), Field(ge=1, le=ID_MAX)]
"""An id, in a path or a query."""
Limit: TypeAlias = Annotated[
    int,
    BeforeValidator(_number),
    Query(ge=1, le=PAGE_ROWS_MAX, description="Maximum number of rows in the page."),
]
Cursor: TypeAlias = Annotated[
    str | None,
    Query(max_length=CURSOR_CHARS_MAX, description="The `next` of the previous page."),
]
Text: TypeAlias = Annotated[str, Field(max_length=TEXT_CHARS_MAX), AfterValidator(_writable)]
Moment: TypeAlias = Annotated[
    datetime, BeforeValidator(_moment), Field(examples=["2030-01-31", "2030-01-31T12:00:00Z"])
]
"""A time with a time zone."""
Id: TypeAlias = Annotated[int, Field(ge=1, le=ID_MAX)]
"""An id in a body."""
Balance: TypeAlias = Annotated[int, BeforeValidator(_bounded), Field(ge=0, le=CREDITS_MAX)]
Amount: TypeAlias = Annotated[
    int, BeforeValidator(_bounded), Field(ge=-CREDITS_MAX, le=CREDITS_MAX)
]
UserId: TypeAlias = Annotated[
    Number | None, Query(description="The user; defaults to you. Other users: superusers only.")
]
TeamId: TypeAlias = Annotated[
    Number | None, Query(description="The team, of which you are a member; not with `user_id`.")
]
SeenTeam: TypeAlias = Annotated[
    Number | None,
    Query(
        description="A team instead of a user: its owners, admins and viewers, and superusers, see"
        " all of it; where a list tells keys apart, other members see what is of their own keys."
    ),
]
WholeTeam: TypeAlias = Annotated[
    Number | None,
    Query(description="A team instead of a user: its owners and admins, and superusers."),
]

FIRST_PAGE: Final = PAGE_ROWS
