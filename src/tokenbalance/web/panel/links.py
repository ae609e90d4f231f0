"""Addresses: of this server as its visitors see it, and where a visitor goes next.

An address from a request never leads to another site.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlencode, urlsplit

from starlette.routing import Match, Route

from tokenbalance.people.access import sees_everything
from tokenbalance.web.panel.guards import is_ours

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

    from tokenbalance.model import Caller

SIGN_IN: Final = "/sign-in"
SIGN_UP: Final = "/sign-up"
_PATH_CHARS_MAX: Final = 2000


def address(path: str, **query: str | int | None) -> str:
    """Build a link with a query, without empty values."""
    given = {key: value for key, value in query.items() if value not in {None, ""}}
    return f"{path}?{urlencode(given)}" if given else path


def home_of(caller: Caller) -> str:
    """Return the start page of a user."""
    return "/admin" if sees_everything(caller) else "/account"


def path_here(path: str) -> str | None:
    r"""Return the path if it leads to a page of this server, else None.

    Browsers treat `//host`, `/\host` and paths with tabs or line ends as other sites.
    """
    if (
        len(path) > _PATH_CHARS_MAX
        or not path.startswith("/")
        or path.startswith("//")
        or "\\" in path
        or not (path.isascii() and path.isprintable())
    ):
        return None
    try:
        parts = urlsplit(path)
    except ValueError:
        return None
    return None if parts.scheme or parts.netloc else path


def sign_in_for(request: Request) -> str:
    """Return the sign-in page, which leads back to the requested page, or to that of its form."""
    if request.method not in {"GET", "HEAD"}:
        return address(SIGN_IN, next=_page_of_form(request))
    query = f"?{request.url.query}" if request.url.query else ""
    return address(SIGN_IN, next=path_here(request.url.path + query))


def _page_of_form(request: Request) -> str | None:
    """Return the page of a form, or the one at its own address; None if unknown."""
    paths = (_referring_path(request), request.url.path)
    return next((path for path in paths if path and _is_page(request, path)), None)


def _referring_path(request: Request) -> str | None:
    referer = request.headers.get("referer", "")
    if not is_ours(request, referer):
        return None
    parts = urlsplit(referer)
    return path_here(f"{parts.path}?{parts.query}" if parts.query else parts.path)


def _is_page(request: Request, path: str) -> bool:
    """Whether an address has a page, and does not only accept a form."""
    scope = {**request.scope, "path": urlsplit(path).path, "method": "GET"}
    for route in cast("Starlette", request.app).routes:
        if route.matches(scope)[0] is Match.FULL:
            page = route.app if isinstance(route, Route) else None
            return getattr(page, "get", None) is not None
    return False
