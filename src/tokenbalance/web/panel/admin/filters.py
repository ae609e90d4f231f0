"""The filters of lists: fields of an address, and links that keep them.

Knows whose account an e-mail belongs to and when a day begins; reads no rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

from tokenbalance.books.reports import EVER, Period
from tokenbalance.books.reports.period import midnight
from tokenbalance.people.users import UnknownUser, find_user
from tokenbalance.web.panel.links import address

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tokenbalance.people.rows import UserRow
    from tokenbalance.web.panel.forms import Form
    from tokenbalance.web.panel.visit import Visit


@dataclass(frozen=True, slots=True)
class Whose:
    """Which user's or team's rows, and of which days."""

    user: UserRow | None = None
    """None: all users."""
    period: Period = field(default=EVER)
    team_id: int | None = None
    """In place of a user: the team that pays."""

    @property
    def account_id(self) -> int | None:
        """The account of the user, or the team's; None: all accounts."""
        return self.team_id if self.user is None else self.user.account.id


async def read_whose(visit: Visit, form: Form) -> Whose:
    """Read the fields `user`, `team`, `since` and `until`; errors are added to the form."""
    period = read_period(form)
    email, team_id = form.text("user"), form.integer("team", minimum=1)
    if not email:
        return Whose(None, period, team_id)
    if team_id is not None:
        form.refuse("team", "leave this empty, or the e-mail")
    async with visit.management.sessions() as session:
        try:
            return Whose(await find_user(session, email), period)
        except UnknownUser:
            form.refuse("user", "no user has this e-mail")
            return Whose(None, period)


def read_period(form: Form) -> Period:
    """Read the fields `since` and `until`: whole days in UTC, both included."""
    since, until = form.day("since"), form.day("until")
    if since is not None and until is not None and until < since:
        form.refuse("until", "this must not be before the first day")
        return EVER
    return Period(None if since is None else midnight(since), _end_of(until))


def kept(form: Form, names: tuple[str, ...]) -> Mapping[str, str]:
    """Return the fields of a filter without empty or invalid ones."""
    values = {name: form.typed(name).strip() for name in names if name not in form.errors}
    return {name: value for name, value in values.items() if value}


def pages(
    path: str, filtered: Mapping[str, str], after: str | None, following: str | None
) -> Pages:
    """Build the links between the pages of a list."""
    return Pages(
        address(path, **filtered) if after else None,
        address(path, **filtered, after=following) if following else None,
    )


@dataclass(frozen=True, slots=True)
class Pages:
    """Links between the pages of a list."""

    first: str | None
    next: str | None


def _end_of(day: date | None) -> datetime | None:
    if day is None or day.year >= date.max.year:
        return None
    return midnight(day) + timedelta(days=1)
