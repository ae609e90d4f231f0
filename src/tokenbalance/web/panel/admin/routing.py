"""Routes of the superusers' pages: below /admin, each requires a superuser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from tokenbalance.web.panel.forms import BODY_BYTES_MAX
from tokenbalance.web.panel.page import Audience, Page

if TYPE_CHECKING:
    from tokenbalance.web.panel.page import Handler


def route(
    path: str,
    *,
    get: Handler | None = None,
    post: Handler | None = None,
    form_bytes_max: int = BODY_BYTES_MAX,
) -> Route:
    """Build a page below /admin for superusers only."""
    page = Page(get=get, post=post, audience=Audience.SUPERUSERS, form_bytes_max=form_bytes_max)
    return Route(f"/admin{path}", page, include_in_schema=False)
