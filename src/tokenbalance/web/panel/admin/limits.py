"""Limits and budgets of the account of a user or a team, and of a user's keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.web.panel import limits_page
from tokenbalance.web.panel.admin.payers import OF_A_USER, PAYERS, account_of, path_of
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.limits_page import Place

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit


async def show(visit: Visit) -> Response:
    """Show the limits of an account or a key."""
    return await limits_page.show(visit, await _place(visit))


async def save(visit: Visit) -> Response:
    """Save the limits of an account or a key."""
    return await limits_page.save(visit, await _place(visit))


async def add_budget(visit: Visit) -> Response:
    """Add a budget to an account or a key."""
    return await limits_page.add(visit, await _place(visit))


async def remove_budget(visit: Visit) -> Response:
    """Remove a budget of an account or a key."""
    return await limits_page.remove(visit, await _place(visit))


async def _place(visit: Visit) -> Place:
    async with visit.management.sessions() as session:
        account_id = await account_of(session, visit)
    back = path_of(visit)
    of_key = "key_id" in visit.request.path_params
    key_id = visit.number("key_id") if of_key else None
    path = f"{back}/keys/{key_id}/limits" if of_key else f"{back}/limits"
    return Place(account_id, key_id, path, back, "admin/frame.html")


_PATHS: Final = (*(f"{payer}/limits" for payer in PAYERS), f"{OF_A_USER}/keys/{{key_id}}/limits")
ROUTES: Final = tuple(
    one
    for path in _PATHS
    for one in (
        route(path, get=show, post=save),
        route(f"{path}/budgets", post=add_budget),
        route(f"{path}/budgets/{{budget_id}}/remove", post=remove_budget),
    )
)
