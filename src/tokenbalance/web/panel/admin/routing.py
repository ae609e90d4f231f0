"""Routes of the superusers' pages: below /admin, each requires a superuser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from tokenbalance.web.panel.page import Audience, Page

if TYPE_CHECKING:
    from tokenbalance.web.panel.page import Handler


def route(path: str, *, get: Handler | None = None, post: Handler | None = None) -> Route:
    """Build a page below /admin for superusers only."""
    page = Page(get=get, post=post, audience=Audience.SUPERUSERS)
    return Route(f"/admin{path}", page, include_in_schema=False)
