"""Common parameters of lists: user or team, period, limit and cursor."""

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from fastapi import Depends, Query

from tokenbalance.books.reports import Period
from tokenbalance.errors import InvalidValue
from tokenbalance.web.api.fields import FIRST_PAGE, Cursor, Limit, Moment, SeenTeam, UserId

_Since: TypeAlias = Annotated[
    Moment | None, Query(description="From this date or time on, ISO 8601; UTC by default.")
]
_Until: TypeAlias = Annotated[
    Moment | None, Query(description="Before this date or time, ISO 8601; UTC by default.")
]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Which rows of a list, by time.

    Raises:
        InvalidValue: the period ends before it begins.

    """

    since: _Since = None
    until: _Until = None
    limit: Limit = FIRST_PAGE
    after: Cursor = None

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.until < self.since:
            msg = "Invalid 'until': it is before 'since'."
            raise InvalidValue(msg, param="until")

    @property
    def period(self) -> Period:
        """The period."""
        return Period(self.since, self.until)


@dataclass(frozen=True, slots=True)
class _Query(_Rows):
    """Which rows of the list of a user or a team."""

    user_id: UserId = None
    team_id: SeenTeam = None


Rows: TypeAlias = Annotated[_Rows, Depends()]
Listing: TypeAlias = Annotated[_Query, Depends()]
