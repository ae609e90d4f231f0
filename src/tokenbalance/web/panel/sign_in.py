"""Sign-in and sign-out, and the root address, which redirects to the user's start page.

Each sign-in gets a new token, whatever the browser had before. Must never reveal whether an e-mail
is known.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from tokenbalance.people.sign_in import (
    BROWSER_SIGN_IN,
    Attempt,
    SlowDown,
    WrongCredentials,
    sign_in,
    sign_out,
)
from tokenbalance.web.context import address_of, user_agent_of
from tokenbalance.web.panel.cookies import Cookie, clear_cookie, read_cookie, set_cookie
from tokenbalance.web.panel.forms import Form, query_form
from tokenbalance.web.panel.links import SIGN_IN, home_of, path_here
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.page import Audience, Page
from tokenbalance.web.panel.rendering import go_to, render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.people.sign_in import SignInResult
    from tokenbalance.web.panel.visit import Visit


async def lead_home(visit: Visit) -> Response:
    """Redirect to the user's start page."""
    return go_to(home_of(visit.caller), visit)


async def show(visit: Visit) -> Response:
    """Show the sign-in form."""
    following = path_here(query_form(visit.request).typed("next")) or ""
    if visit.person is not None:
        return go_to(following or home_of(visit.caller), visit)
    return render(visit, "sign-in.html", form=Form({"next": following}), slow_down_s=None)


async def enter(visit: Visit) -> Response:
    """Sign a user in, and redirect to the page they wanted."""
    form = visit.form
    attempt = attempt_of(visit, form.typed("email"), form.secret("password"))
    try:
        signed_in = await sign_in(
            visit.management.sessions, attempt, BROWSER_SIGN_IN, visit.management.key_limits
        )
    except WrongCredentials:
        form.refuse("password", "wrong e-mail or password")
        return render(
            visit, "sign-in.html", status=HTTPStatus.BAD_REQUEST, form=form, slow_down_s=None
        )
    except SlowDown as slow:
        return _ask_for_patience(visit, slow.retry_after_s)
    # The root address redirects to the start page.
    return await begin_session(visit, signed_in, path_here(form.typed("next")) or "/")


def attempt_of(visit: Visit, email: str, password: str) -> Attempt:
    """Make an attempt to sign in from what the browser shows."""
    request = visit.request
    browser = read_cookie(request, Cookie.BROWSER)
    return Attempt(email, password, address_of(request), user_agent_of(request), browser)


async def begin_session(visit: Visit, signed_in: SignInResult, path: str) -> Response:
    """Start a session and redirect; an earlier session ends."""
    await _end_session(visit)
    response = go_to(path, visit)
    set_cookie(visit.request, response, Cookie.SESSION, signed_in.secret)
    if signed_in.browser is not None:
        set_cookie(visit.request, response, Cookie.BROWSER, signed_in.browser)
    clear_cookie(visit.request, response, Cookie.FORM)
    return response


async def leave(visit: Visit) -> Response:
    """End the session."""
    await _end_session(visit)
    response = go_to(SIGN_IN, visit, Notice.SIGNED_OUT)
    clear_cookie(visit.request, response, Cookie.SESSION)
    return response


def _ask_for_patience(visit: Visit, seconds: int) -> Response:
    response = render(
        visit,
        "sign-in.html",
        status=HTTPStatus.TOO_MANY_REQUESTS,
        form=visit.form,
        slow_down_s=seconds,
    )
    response.headers["retry-after"] = str(seconds)
    return response


async def _end_session(visit: Visit) -> None:
    if visit.person is not None:
        async with visit.management.sessions.begin() as session:
            await sign_out(session, visit.person.secret)


ROUTES: Final = (
    Route("/", Page(get=lead_home), include_in_schema=False),
    Route(
        SIGN_IN,
        Page(get=show, post=enter, audience=Audience.ANYBODY),
        include_in_schema=False,
    ),
    Route("/sign-out", Page(post=leave, audience=Audience.ANYBODY), include_in_schema=False),
)
