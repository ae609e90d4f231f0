"""All routes of the panel, in one list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.routing import Mount, Route

from tokenbalance.web.panel.account import ROUTES as ACCOUNT
from tokenbalance.web.panel.admin import ROUTES as ADMIN
from tokenbalance.web.panel.assets import ASSETS, FOLDER, Assets
from tokenbalance.web.panel.failures import look_elsewhere, nothing_here
from tokenbalance.web.panel.page import Audience, Page
from tokenbalance.web.panel.sign_in import ROUTES as SIGN_IN
from tokenbalance.web.panel.sign_up import ROUTES as SIGN_UP
from tokenbalance.web.panel.teams import ROUTES as TEAMS
from tokenbalance.web.panel.welcome import ROUTES as WELCOME

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.routing import BaseRoute

_ELSEWHERE: Final = Page(get=look_elsewhere, post=nothing_here)
_ELSEWHERE_ADMIN: Final = Page(get=look_elsewhere, post=nothing_here, audience=Audience.SUPERUSERS)

ROUTES: Final[tuple[BaseRoute, ...]] = (
    *SIGN_IN,
    *SIGN_UP,
    *WELCOME,
    *ACCOUNT,
    *TEAMS,
    *ADMIN,
    Route("/account/{rest:path}", _ELSEWHERE, include_in_schema=False),
    Route("/admin/{rest:path}", _ELSEWHERE_ADMIN, include_in_schema=False),
    Mount(ASSETS, Assets(directory=FOLDER), name="panel-assets"),
)


def mount_panel(app: FastAPI) -> None:
    """Add the panel to the application."""
    app.router.routes.extend(ROUTES)
