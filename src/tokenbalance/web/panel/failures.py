"""Errors as pages: each says what happened and what to do, none what went wrong inside.

SignedOut           to /sign-in, and back afterwards
ProxyError          its own status and message
not there           404: users, keys, requests, and pages of lists
database away       503
anything else       500, logged
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from tokenbalance.books.reports import UnknownRequest
from tokenbalance.database.connections import is_unavailable
from tokenbalance.database.paging import InvalidCursor
from tokenbalance.errors import NotFound, ProxyError
from tokenbalance.people.keys import KeyEnded, UnknownKey
from tokenbalance.people.passwords import Busy
from tokenbalance.people.users import UnknownUser
from tokenbalance.web.panel.links import path_here, sign_in_for
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to, render
from tokenbalance.web.panel.visit import SignedOut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenbalance.web.panel.visit import Visit

logger = logging.getLogger(__name__)

_HEADINGS: Final = {
    400: "This cannot be read",
    403: "This is not for you",
    404: "There is nothing here",
    405: "This cannot be done here",
    408: "This took too long",
    413: "This is too much",
    415: "This cannot be read",
    429: "Not so fast",
    500: "Something went wrong",
    503: "Back in a moment",
}

_NOT_THERE: Final = (UnknownKey, UnknownUser, UnknownRequest, InvalidCursor)
"""What a handler need not look for: that it is not there says all there is to say."""


class MethodNotAllowed(ProxyError):
    """The page exists and does not do this."""

    status = HTTPStatus.METHOD_NOT_ALLOWED

    def __init__(self, methods: Sequence[str]) -> None:
        super().__init__("This address does not take what was sent.")
        self.headers = ((b"allow", ", ".join(methods).encode()),)


class Away(ProxyError):
    """The database does not answer; pages can only wait for it."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    headers = ((b"retry-after", b"5"),)


async def look_elsewhere(visit: Visit) -> Response:
    """Lead on from an address that only a slash at its end keeps from being a page's."""
    path = visit.path.rstrip("/")
    return await nothing_here(visit) if path == visit.path else go_to(path, visit)


async def nothing_here(_visit: Visit) -> Response:
    """Answer for every address below a part of the panel that has no page."""
    msg = "There is no such page. It may have been moved, or the address is misspelt."
    raise NotFound(msg)


def failure_page(visit: Visit, error: Exception) -> Response:
    """The page that says what happened."""
    if isinstance(error, SignedOut):
        return _lead_to_sign_in(visit)
    failure = _as_failure(visit, error)
    heading = _HEADINGS.get(failure.status, HTTPStatus(failure.status).phrase)
    response = render(
        visit,
        "failure.html",
        status=failure.status,
        heading=heading,
        message=failure.message,
        retry=_retry_of(visit, failure),
    )
    for name, value in failure.headers:
        response.headers[name.decode()] = value.decode()
    return response


def _lead_to_sign_in(visit: Visit) -> Response:
    if visit.by_script:
        # A redirect would put the sign-in page where a list should be.
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"hx-redirect": "/"})
    notice = Notice.NOT_SAVED if visit.request.method == "POST" else None
    return go_to(sign_in_for(visit.request), visit, notice)


def _away(visit: Visit) -> Away:
    msg = "The server cannot reach its database just now."
    if visit.request.method == "POST":
        # What was sent last may have been committed before the answer was lost.
        unknown = "It is not known whether what you sent was saved: look before you send it again."
        return Away(f"{msg} {unknown}")
    return Away(f"{msg} Try again in a moment.")


def _retry_of(visit: Visit, failure: ProxyError) -> str | None:
    """The same page again, where waiting may help and asking twice does no harm."""
    if failure.status != HTTPStatus.SERVICE_UNAVAILABLE or visit.request.method != "GET":
        return None
    query = visit.request.url.query
    return path_here(f"{visit.path}?{query}" if query else visit.path)


def _as_failure(visit: Visit, error: Exception) -> ProxyError:
    if isinstance(error, ProxyError):
        return error
    if isinstance(error, _NOT_THERE):
        return NotFound("There is no such thing, or it is somebody else's.")
    if isinstance(error, KeyEnded):
        return NotFound("The key was revoked or has expired. Make a new one.")
    if isinstance(error, Busy):
        return Away("Too many people sign in at this moment. Nothing was changed; try again.")
    if is_unavailable(error):
        logger.warning("The database is away: %s", type(error).__name__)
        return _away(visit)
    logger.error("A page failed.", exc_info=error)
    return ProxyError("It is not your fault, and it has been logged.")
