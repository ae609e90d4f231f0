"""A team: what it has, what is left of limits, its usage, and its latest entries."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tokenbalance.books.reports import (
    EntryQuery,
    Group,
    Period,
    UsageQuery,
    all_usage_by,
    entries_page,
)
from tokenbalance.books.reports.limit_states import limit_states
from tokenbalance.books.reports.period import midnight
from tokenbalance.model.limits import ACCOUNT, subject_of_key, subject_of_member
from tokenbalance.people.access import user_of
from tokenbalance.people.account_limits import get_account
from tokenbalance.people.key_lists import newest_keys
from tokenbalance.web.panel.charts import NO_MODEL, chart_by_day, last_days
from tokenbalance.web.panel.forms import Form
from tokenbalance.web.panel.grants import parts_of
from tokenbalance.web.panel.limits_left import LimitsLeft
from tokenbalance.web.panel.teams.here import find_here, own_keys, render_team, route

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.database.connections import Session
    from tokenbalance.web.panel.charts import Chart
    from tokenbalance.web.panel.teams.here import Here
    from tokenbalance.web.panel.visit import Visit

DAYS: Final = 30
_ROWS: Final = 10
_KEYS: Final = 50


async def show(visit: Visit) -> Response:
    """Show a team."""
    return await team_page(visit, Form())


async def team_page(visit: Visit, form: Form) -> Response:
    """Build the page of the team whose id is in the path.

    Args:
        visit: the visitor's.
        form: the one of the page's forms that was submitted, with its errors.

    Raises:
        UnknownTeam: there is none, or the visitor has nothing to do with it.

    """
    async with visit.management.sessions.begin() as session:
        here = await find_here(session, visit)
        parts = await parts_of(session, here.team.id)
        # Read again, since something may have been due.
        here = await find_here(session, visit)
        entries = None
        if here.sees("see_all"):
            newest = EntryQuery(here.team.id, newest_first=True)
            entries = (await entries_page(session, newest, limit=_ROWS)).data
        return render_team(
            visit,
            "team",
            here,
            form,
            parts=parts,
            left=await _left(session, visit, here),
            chart=await _chart(session, visit, here),
            entries=entries,
            own=await get_account(session, visit.caller.account_id),
            # New for every page: submitting its form twice moves once.
            once=secrets.token_urlsafe(16),
        )


async def _left(session: Session, visit: Visit, here: Here) -> LimitsLeft:
    """Read what is left of the limits that bind the visitor's own keys."""
    user_id = user_of(visit.caller)
    whose = {ACCOUNT: "all keys of the team"}
    if here.is_member:
        whose[subject_of_member(user_id)] = "your keys"
    for key in await newest_keys(session, here.team.id, _KEYS):
        if key.revoked_at is None and key.user_id == user_id:
            whose[subject_of_key(key.id)] = key.name or f"{key.prefix}…"
    return LimitsLeft(await limit_states(session, here.team.id, tuple(whose)), whose)


async def _chart(session: Session, visit: Visit, here: Here) -> Chart:
    days = last_days(DAYS)
    key_ids = await own_keys(session, visit, here)
    query = UsageQuery(
        here.team.id,
        frozenset({Group.DAY, Group.MODEL}),
        Period(midnight(days[0]), midnight(days[-1] + timedelta(days=1))),
        key_ids=key_ids,
    )
    rows = await all_usage_by(session, query)
    numbers = ((row.day, row.model or NO_MODEL, row.sums.charge) for row in rows if row.day)
    whose = "Credits used" if key_ids is None else "Credits that you used"
    return chart_by_day(f"{whose} in the last {DAYS} days", "credits", days, numbers)


ROUTES: Final = (route("", get=show),)
