"""The pages of teams, below /account/teams: for members, and for superusers in every team.

here         the team of a page, and what its visitor is in it
listing      one's own teams, and creating one
overview     what a team has, what is left of limits, usage, the latest entries
moving       the forms that move credits: to the team, and to a member
keys         keys of a team: the own ones, or all of them
members      who belongs to it, and who is invited
member       one member: role, access, credits
invitations  the forms that invite, and the page that shows a link once
projects     what keys are grouped by
limits       limits and budgets of keys, members, projects, and of the team itself
settings     name, time zone, closing, and leaving
joining      the page that an invitation opens

Who may do what is decided by `people`, in the transaction of each change. A team that is none of
the visitor's does not exist for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.web.panel.teams import (
    invitations,
    joining,
    keys,
    limits,
    listing,
    member,
    members,
    moving,
    overview,
    projects,
    settings,
)

if TYPE_CHECKING:
    from starlette.routing import Route

ROUTES: tuple[Route, ...] = (
    *listing.ROUTES,
    *overview.ROUTES,
    *moving.ROUTES,
    *keys.ROUTES,
    *members.ROUTES,
    *member.ROUTES,
    *invitations.ROUTES,
    *projects.ROUTES,
    *limits.ROUTES,
    *settings.ROUTES,
    *joining.ROUTES,
)
