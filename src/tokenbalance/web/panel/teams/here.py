"""The team of a page, and what its visitor is in it: where every page and form of a team begins."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from tokenbalance.people.access import user_of
from tokenbalance.people.owned_keys import keys_of_member
from tokenbalance.people.teams.rows import ROLES
from tokenbalance.people.teams.standing import acting_in, standing_in
from tokenbalance.people.teams.teams import get_team
from tokenbalance.web.panel.page import Page
from tokenbalance.web.panel.rendering import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from tokenbalance.database.connections import Session
    from tokenbalance.people.access import Standing, TeamRight
    from tokenbalance.people.teams.rows import TeamRole, TeamRow
    from tokenbalance.web.panel.forms import Form
    from tokenbalance.web.panel.page import Handler
    from tokenbalance.web.panel.visit import Visit

TEAMS: Final = "/account/teams"


@dataclass(frozen=True, slots=True)
class Here:
    """A team, as its visitor sees it."""

    team: TeamRow
    standing: Standing

    @property
    def path(self) -> str:
        """Where its pages begin."""
        return f"{TEAMS}/{self.team.id}"

    @property
    def is_member(self) -> bool:
        """Whether the visitor belongs to it; superusers need not."""
        return self.standing.role is not None

    @property
    def roles(self) -> Sequence[tuple[str, str]]:
        """The roles that the visitor may give and take, as options."""
        given = ROLES if self.standing.may("own") else tuple(r for r in ROLES if r != "owner")
        return [(role, role) for role in given]

    def sees(self, right: TeamRight) -> bool:
        """Whether the visitor is shown what this right is about, of a closed team as well."""
        return self.standing.may(right)

    def may(self, right: TeamRight) -> bool:
        """Whether the visitor may change something by this right."""
        return self.team.closed_at is None and self.standing.may(right)

    def may_change(self, role: TeamRole) -> bool:
        """Whether the visitor may change members with this role."""
        return self.may("own" if role == "owner" else "administer")


async def find_here(session: Session, visit: Visit) -> Here:
    """Find the team whose id is in the path.

    Raises:
        UnknownTeam: there is none, or the visitor has nothing to do with it.

    """
    standing = await standing_in(session, visit.caller, visit.number("team_id"))
    return Here(await get_team(session, standing.team_id), standing)


async def act(session: Session, visit: Visit, right: TeamRight) -> Standing:
    """Lock the team whose id is in the path for a change that requires this right.

    Raises:
        UnknownTeam: there is none, or the visitor has nothing to do with it.
        TeamClosed: nothing of it can be changed any more.
        NotAllowed: the visitor does not have the right.

    """
    standing = await acting_in(session, visit.caller, visit.number("team_id"))
    standing.require(right)
    return standing


async def own_keys(session: Session, visit: Visit, here: Here) -> tuple[int, ...] | None:
    """Return the keys whose usage the visitor may see; None: all keys of the team."""
    if here.sees("see_all"):
        return None
    return await keys_of_member(session, here.team.id, user_of(visit.caller))


def path_of(visit: Visit) -> str:
    """Return where the pages of the team whose id is in the path begin."""
    return f"{TEAMS}/{visit.number('team_id')}"


def render_team(visit: Visit, template: str, here: Here, form: Form, **values: object) -> Response:
    """Render a page of a team, with the form of it that was sent and its errors."""
    status = HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK
    return render(visit, f"teams/{template}.html", status=status, here=here, form=form, **values)


def route(path: str, *, get: Handler | None = None, post: Handler | None = None) -> Route:
    """Build a page below that of a team, for signed-in users."""
    return Route(f"{TEAMS}/{{team_id}}{path}", Page(get=get, post=post), include_in_schema=False)
