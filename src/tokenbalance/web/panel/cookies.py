"""The cookies of the pages: how each is named and set.

    session  a sign-in token; there is no other session state
    form     a random secret for the sign-in form, before there is a session
    notice   which notice the next page shows, once
    new key  its secret, from the form that created it to the page that shows it, once
    new link  the same for an invitation's secret, sealed with the session's own
    invitation  its secret, from the page that it opens to the same page after the sign-in
    browser  a random secret by which a browser is known that users have signed in with before; it
             opens nothing, outlives signing out, and is replaced at every sign-in

The API never reads any of them. SameSite is Lax rather than Strict, so that a link in an e-mail
does not lead a signed-in user to the sign-in page. Lax lets GETs of other sites through, which
change nothing here; POSTs are checked further (`guards`).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from tokenbalance.people.known_browsers import FORGOTTEN_AFTER

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

VALUE_CHARS_MAX: Final = 512
_SECURE_PREFIX: Final = "__Host-"
"""Browsers accept such a cookie only from this host, over TLS, for every path (RFC 6265bis)."""


class Cookie(enum.Enum):
    """The cookies, by their names over plain HTTP."""

    SESSION = "tokenbalance"
    FORM = "tokenbalance-form"
    NOTICE = "tokenbalance-notice"
    NEW_KEY = "tokenbalance-new-key"
    NEW_LINK = "tokenbalance-new-link"
    INVITATION = "tokenbalance-invitation"
    BROWSER = "tokenbalance-browser"


_AGES_MAX_S: Final = {
    Cookie.NEW_KEY: 120,
    Cookie.NEW_LINK: 120,
    Cookie.INVITATION: 3600,
    Cookie.BROWSER: int(FORGOTTEN_AFTER.total_seconds()),
}
"""Lifetime of cookies that are not kept until the browser is closed: time for a slow page, or as
long as the browser is known; for an invitation, time to sign up."""


def read_cookie(request: Request, cookie: Cookie) -> str | None:
    """Return the value of a cookie; None if there is none, or it cannot be ours."""
    value = request.cookies.get(_name(request, cookie))
    return value if value and len(value) <= VALUE_CHARS_MAX else None


def set_cookie(request: Request, response: Response, cookie: Cookie, value: str) -> None:
    """Set a cookie until the browser is closed, or for a time of its own.

    The session's token expires in the database, long before some browsers are closed.
    """
    response.set_cookie(
        _name(request, cookie),
        value,
        max_age=_AGES_MAX_S.get(cookie),
        path="/",
        secure=_is_secure(request),
        httponly=True,
        samesite="lax",
    )


def clear_cookie(request: Request, response: Response, cookie: Cookie) -> None:
    """Delete a cookie."""
    response.delete_cookie(
        _name(request, cookie),
        path="/",
        secure=_is_secure(request),
        httponly=True,
        samesite="lax",
    )


def _name(request: Request, cookie: Cookie) -> str:
    return f"{_SECURE_PREFIX}{cookie.value}" if _is_secure(request) else cookie.value


def _is_secure(request: Request) -> bool:
    return request.url.scheme == "https"
