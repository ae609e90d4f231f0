"""Limits and budgets of one's own keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from tokenbalance.web.panel import limits_page
from tokenbalance.web.panel.limits_page import Place
from tokenbalance.web.panel.page import Page

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit

_KEYS: Final = "/account/keys"
_PATH: Final = f"{_KEYS}/{{key_id}}/limits"
_BUDGET: Final = f"{_PATH}/budgets/{{budget_id}}"


async def show(visit: Visit) -> Response:
    """Show the limits of a key."""
    return await limits_page.show(visit, _place(visit))


async def save(visit: Visit) -> Response:
    """Save the limits of a key."""
    return await limits_page.save(visit, _place(visit))


async def add_budget(visit: Visit) -> Response:
    """Add a budget to a key."""
    return await limits_page.add(visit, _place(visit))


async def remove_budget(visit: Visit) -> Response:
    """Remove a budget of a key."""
    return await limits_page.remove(visit, _place(visit))


def _place(visit: Visit) -> Place:
    key_id = visit.number("key_id")
    path = f"{_KEYS}/{key_id}/limits"
    return Place(visit.caller.account_id, key_id, path, _KEYS, "account/frame.html")


ROUTES: Final = (
    Route(_PATH, Page(get=show, post=save), include_in_schema=False),
    Route(f"{_PATH}/budgets", Page(post=add_budget), include_in_schema=False),
    Route(
        f"{_PATH}/budgets/{{budget_id}}/remove", Page(post=remove_budget), include_in_schema=False
    ),
)
