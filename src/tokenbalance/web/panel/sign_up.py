"""Sign-up, where it is open: creates a user with a balance of 0 and signs them in."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from tokenbalance.errors import NotFound
from tokenbalance.people.attempts import TooSoon
from tokenbalance.people.password_rules import PasswordError
from tokenbalance.people.sign_in import BROWSER_SIGN_IN, sign_in
from tokenbalance.people.sign_up import Stranger, Wanted, sign_up
from tokenbalance.people.users import InvalidName, UserError
from tokenbalance.web.context import address_of
from tokenbalance.web.panel.forms import Form
from tokenbalance.web.panel.links import SIGN_UP
from tokenbalance.web.panel.page import Audience, Page
from tokenbalance.web.panel.rendering import render
from tokenbalance.web.panel.sign_in import attempt_of, begin_session
from tokenbalance.web.panel.teams.joining import after_sign_up

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit


async def show(visit: Visit) -> Response:
    """Show the sign-up form."""
    _require_open(visit)
    return _render(visit, Form())


async def enter(visit: Visit) -> Response:
    """Create the user, and sign them in."""
    _require_open(visit)
    form, sessions = visit.form, visit.management.sessions
    email, password = form.text("email", required=True), form.secret("password")
    if password != form.secret("repeated"):
        form.refuse("repeated", "the passwords do not match")
    if form.errors:
        return _render(visit, form, HTTPStatus.BAD_REQUEST)
    try:
        wanted = Wanted(email, form.text("name"), password)
        stranger = Stranger(address_of(visit.request))
        await sign_up(sessions, wanted, stranger, visit.management.password_rules)
    except PasswordError as error:
        form.refuse("password", str(error))
    except UserError as error:
        form.refuse("name" if isinstance(error, InvalidName) else "email", str(error))
    except TooSoon as refusal:
        response = _render(visit, form, HTTPStatus.TOO_MANY_REQUESTS, refusal.retry_after_s)
        response.headers["retry-after"] = str(refusal.retry_after_s)
        return response
    if form.errors:
        return _render(visit, form, HTTPStatus.BAD_REQUEST)
    signed_in = await sign_in(
        sessions,
        attempt_of(visit, email, password),
        BROWSER_SIGN_IN,
        visit.management.key_limits,
    )
    return await begin_session(visit, signed_in, after_sign_up(visit))


def _require_open(visit: Visit) -> None:
    if not visit.management.signup_open:
        msg = "This page does not exist."
        raise NotFound(msg)


def _render(
    visit: Visit, form: Form, status: int = HTTPStatus.OK, slow_down_s: int | None = None
) -> Response:
    return render(visit, "sign-up.html", status=status, form=form, slow_down_s=slow_down_s)


ROUTES: Final = (
    Route(
        SIGN_UP,
        Page(get=show, post=enter, audience=Audience.ANYBODY),
        include_in_schema=False,
    ),
)
