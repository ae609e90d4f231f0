"""Errors as pages: each says what happened and what to do, and nothing internal.

SignedOut               to /sign-in, and back afterwards
ProxyError              its own status and message
not found               404: users, keys, teams, requests, and pages of lists
a closed team           409
database unavailable    503
anything else           500, logged
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from tokenbalance.books.grants.allowances import UnknownAllowance
from tokenbalance.books.reports import UnknownRequest
from tokenbalance.database.connections import is_unavailable
from tokenbalance.database.paging import InvalidCursor
from tokenbalance.errors import NotFound, ProxyError
from tokenbalance.people.account_limits import UnknownAccount
from tokenbalance.people.budgets import UnknownBudget
from tokenbalance.people.key_errors import KeyEnded, UnknownKey
from tokenbalance.people.passwords import Busy
from tokenbalance.people.sign_in_tokens import UnknownToken
from tokenbalance.people.teams.errors import (
    TeamClosed,
    UnknownInvitation,
    UnknownMember,
    UnknownProject,
    UnknownTeam,
)
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
    400: "Invalid request",
    403: "Access denied",
    404: "Page not found",
    405: "Not allowed",
    408: "Request timed out",
    409: "Not possible",
    413: "Too large",
    415: "Invalid request",
    429: "Too many requests",
    500: "Something went wrong",
    503: "Temporarily unavailable",
}

_NOT_THERE: Final = (
    UnknownAccount,
    UnknownAllowance,
    UnknownBudget,
    UnknownInvitation,
    UnknownKey,
    UnknownMember,
    UnknownProject,
    UnknownTeam,
    UnknownToken,
    UnknownUser,
    UnknownRequest,
    InvalidCursor,
)
"""Handlers need not catch these: the page about them needs no details."""


class MethodNotAllowed(ProxyError):
    """The page does not support the method."""

    status = HTTPStatus.METHOD_NOT_ALLOWED

    def __init__(self, methods: Sequence[str]) -> None:
        super().__init__("This page does not accept this kind of request.")
        self.headers = ((b"allow", ", ".join(methods).encode()),)


class Closed(ProxyError):
    """The team was closed."""

    status = HTTPStatus.CONFLICT


class Away(ProxyError):
    """The database is unavailable."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    headers = ((b"retry-after", b"5"),)


_IN_WORDS: Final[tuple[tuple[tuple[type[Exception], ...], type[ProxyError], str], ...]] = (
    (_NOT_THERE, NotFound, "It does not exist, or it belongs to another user."),
    ((KeyEnded,), NotFound, "The key was revoked or has expired. Create a new one."),
    ((TeamClosed,), Closed, "The team was closed: nothing of it can be changed any more."),
    (
        (Busy,),
        Away,
        "Too many people are signing in at the moment. Nothing was changed; try again.",
    ),
)


async def look_elsewhere(visit: Visit) -> Response:
    """Redirect an address with a trailing slash to the one without."""
    path = visit.path.rstrip("/")
    return await nothing_here(visit) if path == visit.path else go_to(path, visit)


async def nothing_here(_visit: Visit) -> Response:
    """Respond to every address of the panel that has no page."""
    msg = "This page does not exist. It may have been moved, or the address may be misspelled."
    raise NotFound(msg)


def failure_page(visit: Visit, error: Exception) -> Response:
    """Build the page about an error."""
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
        # A redirect would put the sign-in page in place of a list.
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"hx-redirect": "/"})
    notice = Notice.NOT_SAVED if visit.request.method == "POST" else None
    return go_to(sign_in_for(visit.request), visit, notice)


def _away(visit: Visit) -> Away:
    msg = "The server cannot connect to its database at the moment."
    if visit.request.method == "POST":
        # It may have been committed before the connection was lost.
        unknown = "Your change may or may not have been saved: check before you submit it again."
        return Away(f"{msg} {unknown}")
    return Away(f"{msg} Try again in a moment.")


def _retry_of(visit: Visit, failure: ProxyError) -> str | None:
    """Return the same page, if a retry may help and does no harm."""
    if failure.status != HTTPStatus.SERVICE_UNAVAILABLE or visit.request.method != "GET":
        return None
    query = visit.request.url.query
    return path_here(f"{visit.path}?{query}" if query else visit.path)


def _as_failure(visit: Visit, error: Exception) -> ProxyError:
    if isinstance(error, ProxyError):
        return error
    for errors, failure, words in _IN_WORDS:
        if isinstance(error, errors):
            return failure(words)
    if is_unavailable(error):
        logger.warning("The database is unavailable: %s", type(error).__name__)
        return _away(visit)
    logger.error("A page failed", exc_info=error)
    return ProxyError("An internal error occurred. It has been logged.")
