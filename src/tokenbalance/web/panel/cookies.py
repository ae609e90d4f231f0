"""The cookies of the pages: how each is named and set.

    session  a sign-in token, which is all that a session is; nothing else is stored
    form     a random secret for the form that signs in, before there is a session
    notice   which notice the next page shows, once
    new key  its secret, from the form that made it to the page that shows it, once

None is ever read by the API. SameSite is Lax and not Strict, lest a link in a mail lead somebody
who is signed in to the sign-in page; what Lax lets through, a foreign site's GET, changes nothing
here, and a POST is asked for more (`guards`).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

VALUE_CHARS_MAX: Final = 512
_SECURE_PREFIX: Final = "__Host-"
"""Browsers take such a cookie only from this host, over TLS, for every path (RFC 6265bis)."""


class Cookie(enum.Enum):
    """What a cookie is for, by its name over plain HTTP."""

    SESSION = "tokenbalance"
    FORM = "tokenbalance-form"
    NOTICE = "tokenbalance-notice"
    NEW_KEY = "tokenbalance-new-key"


_AGES_MAX_S: Final = {Cookie.NEW_KEY: 120}
"""How long the browser keeps what is not for the whole visit: as long as a slow page takes."""


def read_cookie(request: Request, cookie: Cookie) -> str | None:
    """What the browser keeps; None where it keeps nothing that can be ours."""
    value = request.cookies.get(_name(request, cookie))
    return value if value and len(value) <= VALUE_CHARS_MAX else None


def set_cookie(request: Request, response: Response, cookie: Cookie, value: str) -> None:
    """Have the browser keep something until it is closed, and a key's secret for two minutes.

    The session's token ends by itself, in the database, long before some browsers do.
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
    """Have the browser forget something."""
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
