"""One's own balance, and the usage of the last month."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from tokenbalance.books.reports import Group, Period, UsageQuery, all_usage_by, refused_today
from tokenbalance.books.reports.period import midnight
from tokenbalance.people.access import user_of
from tokenbalance.people.users import get_user
from tokenbalance.web.panel.charts import NO_MODEL, chart_by_day, last_days
from tokenbalance.web.panel.grants import parts_of
from tokenbalance.web.panel.limits_left import limits_left
from tokenbalance.web.panel.page import Page
from tokenbalance.web.panel.rendering import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from tokenbalance.books.reports import UsageRow
    from tokenbalance.web.panel.visit import Visit

DAYS: Final = 30


async def show(visit: Visit) -> Response:
    """Show the account."""
    days = last_days(DAYS)
    period = Period(midnight(days[0]), midnight(days[-1] + timedelta(days=1)))
    account_id = visit.caller.account_id

    def by(*groups: Group) -> UsageQuery:
        return UsageQuery(account_id, frozenset(groups), period)

    async with visit.management.sessions.begin() as session:
        parts = await parts_of(session, account_id)
        user = await get_user(session, user_of(visit.caller))
        daily = await all_usage_by(session, by(Group.DAY, Group.MODEL))
        models = await all_usage_by(session, by(Group.MODEL))
        keys = await all_usage_by(session, by(Group.KEY))
        refused = await refused_today(session, account_id)
        left = await limits_left(session, account_id)
    numbers = ((row.day, row.model or NO_MODEL, row.sums.charge) for row in daily if row.day)
    return render(
        visit,
        "account/overview.html",
        account=user.account,
        parts=parts,
        chart=chart_by_day(f"Credits used in the last {DAYS} days", "credits", days, numbers),
        models=_most_first(models),
        keys=_most_first(keys),
        refused=refused,
        left=left,
        days=DAYS,
        no_model=NO_MODEL,
    )


def _most_first(rows: Sequence[UsageRow]) -> Sequence[UsageRow]:
    return sorted(rows, key=lambda row: (-row.sums.charge, -row.sums.requests))


ROUTES: Final = (Route("/account", Page(get=show), include_in_schema=False),)
