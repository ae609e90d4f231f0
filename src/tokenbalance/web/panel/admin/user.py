"""One user: balance, keys, recent usage, and the forms that change them.

Only shows the page; `balance`, `standing` and `user_keys` handle the forms, and show this page
again with their errors.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbalance.books.reports import (
    EntryQuery,
    Group,
    Period,
    RequestQuery,
    UsageQuery,
    all_usage_by,
    entries_page,
    refused_today,
    requests_page,
)
from tokenbalance.books.reports.period import midnight
from tokenbalance.people.key_families import families_of
from tokenbalance.people.key_lists import newest_keys
from tokenbalance.people.users import get_user
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.charts import NO_MODEL, chart_by_day, last_days
from tokenbalance.web.panel.forms import Form
from tokenbalance.web.panel.grants import EVERY, parts_of
from tokenbalance.web.panel.limits_left import limits_left
from tokenbalance.web.panel.rendering import render

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.responses import Response

    from tokenbalance.books.reports import EntryRow, RefusedToday, RequestRow
    from tokenbalance.database.connections import Session
    from tokenbalance.people.key_families import Family
    from tokenbalance.people.rows import KeyRow, UserRow
    from tokenbalance.web.panel.charts import Chart
    from tokenbalance.web.panel.grants import Parts
    from tokenbalance.web.panel.limits_left import LimitsLeft
    from tokenbalance.web.panel.visit import Visit

DAYS: Final = 30
_ROWS: Final = 10
"""Of each list, which has a page of its own."""
_KEYS: Final = 50
"""Each has forms of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """What the page shows of a user."""

    user: UserRow
    keys: Sequence[KeyRow]
    families: Mapping[int, Family]
    """Of the keys."""
    entries: Sequence[EntryRow]
    requests: Sequence[RequestRow]
    refused: Sequence[RefusedToday]
    left: LimitsLeft
    chart: Chart
    parts: Parts


async def show(visit: Visit) -> Response:
    """Show a user."""
    return await user_page(visit, Form())


async def user_page(visit: Visit, form: Form) -> Response:
    """Build the page of the user whose id is in the path.

    Args:
        visit: the visitor's.
        form: the one of the page's forms that was submitted, with its errors.

    Raises:
        UnknownUser: no user has this id.

    """
    async with visit.management.sessions.begin() as session:
        looked = await _look(session, await user_of(session, visit))
    return render(
        visit,
        "admin/user.html",
        status=HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK,
        form=form,
        looked=looked,
        user=looked.user,
        every=EVERY.items(),
        now=datetime.now(UTC),
        # New for every page: submitting its form twice adds once.
        once=secrets.token_urlsafe(16),
    )


async def user_of(session: Session, visit: Visit) -> UserRow:
    """Find the user whose id is in the path.

    Raises:
        UnknownUser: no user has this id.

    """
    return await get_user(session, visit.number("user_id"))


def path_of(visit: Visit) -> str:
    """Return the path of the page of the user whose id is in the path."""
    return f"/admin/users/{visit.number('user_id')}"


async def _look(session: Session, user: UserRow) -> _Looked:
    account_id = user.account.id
    parts = await parts_of(session, account_id)
    newest = EntryQuery(account_id, newest_first=True)
    keys = await newest_keys(session, account_id, _KEYS)
    return _Looked(
        # Read again, since something may have been due.
        user=await get_user(session, user.id),
        parts=parts,
        keys=keys,
        families=await families_of(session, keys),
        entries=(await entries_page(session, newest, limit=_ROWS)).data,
        requests=(await requests_page(session, RequestQuery(account_id), limit=_ROWS)).data,
        refused=await refused_today(session, account_id),
        left=await limits_left(session, account_id),
        chart=await usage_chart(session, account_id),
    )


async def usage_chart(session: Session, account_id: int) -> Chart:
    """Build the chart of the last days' usage of an account."""
    days = last_days(DAYS)
    period = Period(since=midnight(days[0]))
    query = UsageQuery(account_id, frozenset({Group.DAY, Group.MODEL}), period)
    rows = await all_usage_by(session, query)
    numbers = ((row.day, row.model or NO_MODEL, row.sums.charge) for row in rows if row.day)
    return chart_by_day(f"Credits by model, {DAYS} days", "credits", days, numbers)


ROUTES: Final = (route("/users/{user_id}", get=show),)
