"""Routes of the superusers' pages: below /admin, and asked for a superuser, every one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from tokenbalance.web.panel.page import Audience, Page

if TYPE_CHECKING:
    from tokenbalance.web.panel.page import Handler


def route(path: str, *, get: Handler | None = None, post: Handler | None = None) -> Route:
    """Make a page below /admin that nobody but superusers sees or posts to."""
    page = Page(get=get, post=post, audience=Audience.SUPERUSERS)
    return Route(f"/admin{path}", page, include_in_schema=False)
