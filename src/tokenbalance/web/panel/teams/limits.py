"""Limits and budgets of the keys, members and projects of a team, and budgets of the team itself.

For owners and admins. Limits of the team's account are set by superusers.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from tokenbalance.people.access import sees_everything
from tokenbalance.web.panel import limits_page
from tokenbalance.web.panel.limits_page import Place
from tokenbalance.web.panel.teams.here import act, find_here, route

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit


async def show(visit: Visit) -> Response:
    """Show limits and budgets."""
    return await limits_page.show(visit, await _place(visit))


async def save(visit: Visit) -> Response:
    """Save limits."""
    return await limits_page.save(visit, await _place(visit))


async def add_budget(visit: Visit) -> Response:
    """Add a budget."""
    return await limits_page.add(visit, await _place(visit))


async def remove_budget(visit: Visit) -> Response:
    """Remove a budget."""
    return await limits_page.remove(visit, await _place(visit))


async def _place(visit: Visit) -> Place:
    """Find whose limits the path is about.

    Raises:
        UnknownTeam: there is none, or the visitor has nothing to do with it.
        NotAllowed: the visitor is no owner or admin of it.

    """
    async with visit.management.sessions() as session:
        here = await find_here(session, visit)
    here.standing.require("administer")
    key_id, member_id, project_id = (
        visit.number(name) if name in visit.request.path_params else None
        for name in ("key_id", "user_id", "project_id")
    )
    of_account = key_id is member_id is project_id is None
    return Place(
        here.team.id,
        key_id,
        _here(visit),
        _back(here.path, key_id, member_id, project_id),
        "account/frame.html",
        member_id,
        project_id,
        may_limit=not of_account or sees_everything(visit.caller),
        admit=partial(act, visit=visit, right="administer"),
    )


def _here(visit: Visit) -> str:
    """Return the path of the page, of which the forms' paths are extensions."""
    path, _, _ = visit.path.partition("/limits")
    return f"{path}/limits"


def _back(path: str, key_id: int | None, member_id: int | None, project_id: int | None) -> str:
    if key_id is not None:
        return f"{path}/keys"
    if member_id is not None:
        return f"{path}/members/{member_id}"
    return path if project_id is None else f"{path}/projects"


_PATHS: Final = (
    "/limits",
    "/keys/{key_id}/limits",
    "/members/{user_id}/limits",
    "/projects/{project_id}/limits",
)
ROUTES: Final = tuple(
    one
    for path in _PATHS
    for one in (
        route(path, get=show, post=save),
        route(f"{path}/budgets", post=add_budget),
        route(f"{path}/budgets/{{budget_id}}/remove", post=remove_budget),
    )
)
