"""What lists are filtered by: fields of an address, read as what they mean; links that keep them.

Knows whose account an e-mail is and when a day begins; never which rows there are.
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
    """Whose rows, and of which days; nobody's when something about them cannot be read."""

    user: UserRow | None = None
    """None for everybody."""
    period: Period = field(default=EVER)

    @property
    def account_id(self) -> int | None:
        """The account of the user."""
        return None if self.user is None else self.user.account.id


async def read_whose(visit: Visit, form: Form) -> Whose:
    """Read the fields `user`, `since` and `until`; what is wrong with them is in the form."""
    period = read_period(form)
    email = form.text("user")
    if not email:
        return Whose(None, period)
    async with visit.management.sessions() as session:
        try:
            return Whose(await find_user(session, email), period)
        except UnknownUser:
            form.refuse("user", "no user has this e-mail")
            return Whose(None, period)


def read_period(form: Form) -> Period:
    """Read the fields `since` and `until`, whole days in UTC, both of them included."""
    since, until = form.day("since"), form.day("until")
    if since is not None and until is not None and until < since:
        form.refuse("until", "this day must not lie before the first one")
        return EVER
    return Period(None if since is None else midnight(since), _end_of(until))


def kept(form: Form, names: tuple[str, ...]) -> Mapping[str, str]:
    """Give what a list is filtered by, without what is empty or wrong."""
    values = {name: form.typed(name).strip() for name in names if name not in form.errors}
    return {name: value for name, value in values.items() if value}


def pages(
    path: str, filtered: Mapping[str, str], after: str | None, following: str | None
) -> Pages:
    """Give the links between the pages of a list."""
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
