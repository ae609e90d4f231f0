"""Whose account a form of the superusers' pages changes: a user's, or a team's.

Forms of money and limits are the same for both; each leads back to the page that it is on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.web.panel.admin.team import path_of as path_of_team
from tokenbalance.web.panel.admin.team import team_of, team_page
from tokenbalance.web.panel.admin.user import path_of as path_of_user
from tokenbalance.web.panel.admin.user import user_of, user_page

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.database.connections import Session
    from tokenbalance.web.panel.forms import Form
    from tokenbalance.web.panel.visit import Visit

OF_A_USER: Final = "/users/{user_id}"
OF_A_TEAM: Final = "/teams/{team_id}"
PAYERS: Final = (OF_A_USER, OF_A_TEAM)
"""Where the pages of each begin, below those of superusers."""


async def account_of(session: Session, visit: Visit) -> int:
    """Return the id of the account of the user or the team in the path.

    Raises:
        UnknownUser, UnknownTeam: there is none.

    """
    if _is_of_team(visit):
        return (await team_of(session, visit)).id
    return (await user_of(session, visit)).account.id


async def payer_page(visit: Visit, form: Form) -> Response:
    """Show the page of the user or the team in the path, with the errors of a form of it."""
    return await (team_page if _is_of_team(visit) else user_page)(visit, form)


def path_of(visit: Visit) -> str:
    """Return the path of this page."""
    return (path_of_team if _is_of_team(visit) else path_of_user)(visit)


def _is_of_team(visit: Visit) -> bool:
    return "team_id" in visit.request.path_params
