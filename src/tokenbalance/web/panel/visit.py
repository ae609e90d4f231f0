"""One request of a page: the visitor and what they sent. Every handler gets it.

Owns the session: a sign-in token in a cookie, looked up for every page, so that it ends at once
when the token ends. An API key is not a session, and the API never accepts a session's cookie.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, cast

from markupsafe import Markup

from tokenbalance.database.ids import ID_MAX
from tokenbalance.errors import InvalidApiKey, NotFound
from tokenbalance.people.access import user_of
from tokenbalance.people.callers import find_caller
from tokenbalance.people.users import get_user
from tokenbalance.web.actors import actor_at
from tokenbalance.web.context import Management, management_of
from tokenbalance.web.panel.cookies import Cookie, read_cookie
from tokenbalance.web.panel.forms import Form
from tokenbalance.web.panel.guards import TOKEN_FIELD, form_token
from tokenbalance.web.panel.notices import Shown, notice_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from tokenbalance.model import Actor, Caller


class SignedOut(Exception):
    """The page requires a signed-in user."""


@dataclass(frozen=True, slots=True)
class Person:
    """The signed-in user."""

    caller: Caller
    email: str
    name: str
    secret: str = field(repr=False)
    """The session's token: never shown, never logged."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One request of a page."""

    request: Request
    management: Management
    person: Person | None = None
    form: Form = field(default_factory=Form)
    """The fields of a POST, whose token has been checked."""

    @property
    def caller(self) -> Caller:
        """The caller.

        Raises:
            SignedOut: nobody is signed in.

        """
        return self.signed_in.caller

    @property
    def signed_in(self) -> Person:
        """The signed-in user.

        Raises:
            SignedOut: nobody is signed in.

        """
        if self.person is None:
            raise SignedOut
        return self.person

    @property
    def actor(self) -> Actor:
        """The signed-in user, as the one who is written down for a change.

        Raises:
            SignedOut: nobody is signed in.

        """
        return actor_at(self.request, self.caller, self.signed_in.email)

    @cached_property
    def new_form_secret(self) -> str | None:
        """A new secret for the browser's first form; None if it has one already."""
        if self.person is not None or read_cookie(self.request, Cookie.FORM):
            return None
        return secrets.token_urlsafe(32)

    @property
    def form_secret(self) -> str | None:
        """The secret from which the tokens of this browser's forms are derived."""
        if self.person is not None:
            return self.person.secret
        return read_cookie(self.request, Cookie.FORM)

    @property
    def token_field(self) -> Markup:
        """The hidden field of every form."""
        secret = self.form_secret or self.new_form_secret or ""
        markup = Markup('<input type="hidden" name="{}" value="{}">')
        return markup.format(TOKEN_FIELD, form_token(secret))

    @property
    def notice(self) -> Shown | None:
        """What the previous form did."""
        return notice_of(read_cookie(self.request, Cookie.NOTICE))

    @property
    def path(self) -> str:
        """The path of the page."""
        return self.request.url.path

    @property
    def by_script(self) -> bool:
        """Whether htmx requests a part of the page."""
        return "hx-request" in self.request.headers

    def parameter(self, name: str) -> str:
        """Return the part of the path where the route has `{name}`."""
        return cast("str", self.request.path_params[name])

    def number(self, name: str) -> int:
        """Return an id from the path.

        Raises:
            NotFound: it is not a number.

        """
        text = self.parameter(name)
        if not (text.isascii() and text.isdecimal()) or len(text) > len(str(ID_MAX)):
            msg = "This page does not exist."
            raise NotFound(msg)
        return min(int(text), ID_MAX)


async def open_visit(request: Request) -> Visit:
    """Identify the visitor, who may be a stranger.

    Raises:
        what the database raises if it is unavailable.

    """
    management = management_of(request)
    secret = read_cookie(request, Cookie.SESSION)
    person = await _find_person(management, secret) if secret else None
    return Visit(request=request, management=management, person=person)


async def _find_person(management: Management, secret: str) -> Person | None:
    try:
        caller = await find_caller(management.pool, secret)
    except InvalidApiKey:
        return None
    if not caller.signed_in:
        return None
    async with management.sessions() as session:
        user = await get_user(session, user_of(caller))
    return Person(caller, user.email, user.name, secret)
