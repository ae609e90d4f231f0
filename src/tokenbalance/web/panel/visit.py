"""One look at a page: who is there, what they sent. It is what every handler gets.

Owns the session: a sign-in token in a cookie, looked up anew on every page, so that one that has
ended opens nothing. An API key is no session, nor is a session's cookie ever taken by the API.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, cast

from markupsafe import Markup

from tokenbalance.database.ids import ID_MAX
from tokenbalance.errors import InvalidApiKey, NotFound
from tokenbalance.people.callers import find_caller
from tokenbalance.people.users import get_user
from tokenbalance.web.context import Management, management_of
from tokenbalance.web.panel.cookies import Cookie, read_cookie
from tokenbalance.web.panel.forms import Form
from tokenbalance.web.panel.guards import TOKEN_FIELD, form_token
from tokenbalance.web.panel.notices import Notice, notice_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from tokenbalance.model import Caller


class SignedOut(Exception):
    """The page is for those who are signed in."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who is signed in."""

    caller: Caller
    email: str
    name: str
    secret: str = field(repr=False)
    """The session's: never shown, never logged."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One request of a page."""

    request: Request
    management: Management
    person: Person | None = None
    form: Form = field(default_factory=Form)
    """What a POST has sent; its token has been checked."""

    @property
    def caller(self) -> Caller:
        """Who is signed in.

        Raises:
            SignedOut: nobody.

        """
        return self.signed_in.caller

    @property
    def signed_in(self) -> Person:
        """Who is signed in, as people know them.

        Raises:
            SignedOut: nobody.

        """
        if self.person is None:
            raise SignedOut
        return self.person

    @cached_property
    def new_form_secret(self) -> str | None:
        """What the browser is to keep for its first form; None when it has something already."""
        if self.person is not None or read_cookie(self.request, Cookie.FORM):
            return None
        return secrets.token_urlsafe(32)

    @property
    def form_secret(self) -> str | None:
        """What the tokens of this browser's forms follow from."""
        if self.person is not None:
            return self.person.secret
        return read_cookie(self.request, Cookie.FORM)

    @property
    def token_field(self) -> Markup:
        """What every form that is posted has in it."""
        secret = self.form_secret or self.new_form_secret or ""
        markup = Markup('<input type="hidden" name="{}" value="{}">')
        return markup.format(TOKEN_FIELD, form_token(secret))

    @property
    def notice(self) -> Notice | None:
        """What the form before has done."""
        return notice_of(read_cookie(self.request, Cookie.NOTICE))

    @property
    def path(self) -> str:
        """The page's."""
        return self.request.url.path

    @property
    def by_script(self) -> bool:
        """Whether htmx asks, for a part of the page."""
        return "hx-request" in self.request.headers

    def parameter(self, name: str) -> str:
        """What stands in the path, where the route has `{name}`."""
        return cast("str", self.request.path_params[name])

    def number(self, name: str) -> int:
        """An id that stands in the path.

        Raises:
            NotFound: it is no number that an id can be.

        """
        text = self.parameter(name)
        if not (text.isascii() and text.isdecimal()) or len(text) > len(str(ID_MAX)):
            msg = "There is no such page."
            raise NotFound(msg)
        return min(int(text), ID_MAX)


async def open_visit(request: Request) -> Visit:
    """Find who looks at a page; anybody may be nobody.

    Raises:
        what the database raises when it is away.

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
        user = await get_user(session, caller.user_id)
    return Person(caller, user.email, user.name, secret)
