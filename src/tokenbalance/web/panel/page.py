"""A page: the checks that every request passes, in order, then its handler.

    method     does the page support it?                           405
    origin     does a POST come from this site?                    403
    session    who is the visitor?                                 to /sign-in
    audience   may they see this page?                             403
    form       was it issued in this session?                      400, 403, 413, 415
    handler    the page itself

Every exception becomes a page (`failures`).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from starlette.requests import Request

from tokenbalance.events import Line, say_refusal
from tokenbalance.people.access import require_superuser
from tokenbalance.web.context import address_of, management_of
from tokenbalance.web.panel.failures import MethodNotAllowed, failure_page
from tokenbalance.web.panel.forms import BODY_BYTES_MAX, read_form
from tokenbalance.web.panel.guards import TOKEN_FIELD, ForeignForm, check_origin, check_token
from tokenbalance.web.panel.rendering import secure
from tokenbalance.web.panel.visit import Visit, open_visit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

_PATH_CHARS_MAX: Final = 200
Handler: TypeAlias = "Callable[[Visit], Awaitable[Response]]"


class Audience(enum.Enum):
    """Who may see a page."""

    SUPERUSERS = "superusers"
    SIGNED_IN = "signed-in users"
    ANYBODY = "everybody, including strangers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What an address shows (GET) and does (POST)."""

    get: Handler | None = None
    post: Handler | None = None
    audience: Audience = Audience.SIGNED_IN
    form_bytes_max: int = BODY_BYTES_MAX

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request, as an ASGI application."""
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        visit = Visit(request=request, management=management_of(request))
        try:
            handler = self._handler_of(request.method)
            if request.method == "POST":
                check_origin(request)
            visit = await open_visit(request)
            self._admit(visit)
            if request.method == "POST":
                visit = await _with_form(visit, self.form_bytes_max)
            response = await handler(visit)
        except Exception as error:  # noqa: BLE001 - that each becomes a page is the purpose
            if isinstance(error, ForeignForm):
                _note_refusal(visit, error)
            response = failure_page(visit, error)
        return secure(response)

    def _handler_of(self, method: str) -> Handler:
        handlers = {"GET": self.get, "HEAD": self.get, "POST": self.post}
        handler = handlers.get(method)
        if handler is None:
            raise MethodNotAllowed([name for name, each in handlers.items() if each is not None])
        return handler

    def _admit(self, visit: Visit) -> None:
        if self.audience is Audience.SUPERUSERS:
            require_superuser(visit.caller)
        elif self.audience is Audience.SIGNED_IN:
            _ = visit.signed_in


def _note_refusal(visit: Visit, refused: ForeignForm) -> None:
    person = visit.person
    say_refusal(
        Line(
            event="form.refused",
            outcome="refused",
            reason=refused.reason,
            user=person and person.caller.user_id,
            actor=person and person.email,
            address=address_of(visit.request),
            path=_shown_path(visit)[:_PATH_CHARS_MAX],
        )
    )


def _shown_path(visit: Visit) -> str:
    """Return the path without a secret that is a part of it."""
    secret = cast("str | None", visit.request.path_params.get("secret"))
    return visit.path.replace(secret, "…") if secret else visit.path


async def _with_form(visit: Visit, bytes_max: int) -> Visit:
    form = await read_form(visit.request, bytes_max)
    check_token(visit.form_secret, form.typed(TOKEN_FIELD))
    return replace(visit, form=form)
