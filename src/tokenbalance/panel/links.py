"""Addresses: of this server as its visitors see it, and where somebody is led next.

What comes from an address bar is never followed to another site.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

from tokenbalance.access import sees_everything

if TYPE_CHECKING:
    from starlette.requests import Request

    from tokenbalance.model import Caller

SIGN_IN: Final = "/sign-in"
_PATH_CHARS_MAX: Final = 2000


def address(path: str, **query: str | int | None) -> str:
    """A link with a query, without the values that are empty."""
    given = {key: value for key, value in query.items() if value not in {None, ""}}
    return f"{path}?{urlencode(given)}" if given else path


def home_of(caller: Caller) -> str:
    """Where somebody begins who was not on the way to a page."""
    return "/admin" if sees_everything(caller) else "/account"


def path_here(path: str) -> str | None:
    r"""The path when it leads to a page of this server, else None.

    Browsers take `//host`, `/\host` and what has tabs or line ends in it for other sites.
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
    """The sign-in page, which leads back to what was asked for where that can be asked again."""
    if request.method not in {"GET", "HEAD"}:
        return SIGN_IN
    query = f"?{request.url.query}" if request.url.query else ""
    return address(SIGN_IN, next=path_here(request.url.path + query))


def base_url(request: Request) -> str:
    """This server's address without a path, as whoever looks at the page has typed it."""
    return f"{request.url.scheme}://{request.url.netloc}"
