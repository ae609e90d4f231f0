"""The page of a link with which an import has welcomed a new user: it sets a password, once.

Every link that does not work leads to the same page. The secret is only in the address.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from tokenbalance.people.attempts import TooSoon
from tokenbalance.people.password_rules import PasswordError
from tokenbalance.people.sign_in import BROWSER_SIGN_IN, sign_in
from tokenbalance.people.welcome import UnknownLink, open_link, use_link
from tokenbalance.web.context import address_of
from tokenbalance.web.panel.forms import Form
from tokenbalance.web.panel.page import Audience, Page
from tokenbalance.web.panel.rendering import render
from tokenbalance.web.panel.sign_in import attempt_of, begin_session

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit


async def show(visit: Visit) -> Response:
    """Show the form, and whose password it sets."""
    return await _form(visit, Form())


async def enter(visit: Visit) -> Response:
    """Set the password, and sign the user in."""
    form, password = visit.form, visit.form.secret("password")
    if password != form.secret("repeated"):
        form.refuse("repeated", "the passwords do not match")
        return await _form(visit, form)
    sessions, rules = visit.management.sessions, visit.management.password_rules
    try:
        user = await use_link(sessions, _secret(visit), password, rules, address_of(visit.request))
    except PasswordError as error:
        form.refuse("password", str(error))
        return await _form(visit, form)
    except (UnknownLink, TooSoon) as error:
        return _refusal(visit, error)
    attempt = attempt_of(visit, user.email, password)
    signed_in = await sign_in(sessions, attempt, BROWSER_SIGN_IN)
    return await begin_session(visit, signed_in, "/account")


async def _form(visit: Visit, form: Form) -> Response:
    try:
        user = await open_link(visit.management.sessions, _secret(visit), address_of(visit.request))
    except (UnknownLink, TooSoon) as error:
        return _refusal(visit, error)
    status = HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK
    return render(visit, "welcome.html", status=status, form=form, user=user, slow_down_s=None)


def _refusal(visit: Visit, error: UnknownLink | TooSoon) -> Response:
    slow_down_s = error.retry_after_s if isinstance(error, TooSoon) else None
    status = HTTPStatus.TOO_MANY_REQUESTS if slow_down_s else HTTPStatus.NOT_FOUND
    response = render(
        visit,
        "welcome.html",
        status=status,
        form=visit.form,
        user=None,
        slow_down_s=slow_down_s,
    )
    if slow_down_s:
        response.headers["retry-after"] = str(slow_down_s)
    return response


def _secret(visit: Visit) -> str:
    return visit.parameter("secret")


ROUTES: Final = (
    Route(
        "/welcome/{secret}",
        Page(get=show, post=enter, audience=Audience.ANYBODY),
        include_in_schema=False,
    ),
)
