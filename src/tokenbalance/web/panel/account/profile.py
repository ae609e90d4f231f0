"""One's own name and password."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from tokenbalance.people.access import user_of
from tokenbalance.people.password_rules import PasswordError
from tokenbalance.people.passwords import hash_password
from tokenbalance.people.sign_in import SlowDown, WrongCredentials, confirm
from tokenbalance.people.users import Changes, InvalidName, Kept, update_user
from tokenbalance.web.panel.cookies import Cookie, read_cookie
from tokenbalance.web.panel.forms import Form
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.page import Page
from tokenbalance.web.panel.rendering import go_to, render
from tokenbalance.web.panel.sign_in import attempt_of

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit

PATH: Final = "/account/profile"


async def show(visit: Visit) -> Response:
    """Show the forms."""
    return _render(visit, Form())


async def save_name(visit: Visit) -> Response:
    """Change the name."""
    changes = Changes(name=visit.form.typed("name"))
    try:
        async with visit.management.sessions.begin() as session:
            await update_user(session, user_of(visit.caller), changes, actor=visit.actor)
    except InvalidName as error:
        visit.form.refuse("name", str(error))
        return _render(visit, visit.form, HTTPStatus.BAD_REQUEST)
    return go_to(PATH, visit, Notice.PROFILE_SAVED)


async def change_password(visit: Visit) -> Response:
    """Change the password, which signs the user out everywhere else."""
    form = visit.form
    # Before anything is hashed: passwords that differ are not worth the work.
    if form.secret("password") != form.secret("repeated"):
        form.refuse("repeated", "the passwords do not match")
    else:
        await _confirm(visit)
    password_hash = None if form.errors else await _hash(visit)
    if password_hash is None:
        return _render(visit, form, HTTPStatus.BAD_REQUEST)
    async with visit.management.sessions.begin() as session:
        changes = Changes(password_hash=password_hash)
        kept = Kept(visit.caller.key_id, read_cookie(visit.request, Cookie.BROWSER))
        await update_user(session, user_of(visit.caller), changes, kept, actor=visit.actor)
    return go_to(PATH, visit, Notice.PASSWORD_CHANGED)


async def _hash(visit: Visit) -> str | None:
    """Hash the new password; None, and an error in the form, if it is not accepted."""
    form, rules = visit.form, visit.management.password_rules
    try:
        return await hash_password(form.secret("password"), rules, visit.signed_in.email)
    except PasswordError as error:
        form.refuse("password", str(error))
        return None


async def _confirm(visit: Visit) -> None:
    """Verify the current password; adds an error to the form if it is wrong."""
    form = visit.form
    attempt = attempt_of(visit, visit.signed_in.email, form.secret("current"))
    try:
        await confirm(visit.management.sessions, attempt)
    except WrongCredentials:
        form.refuse("current", "wrong password")
    except SlowDown as slow:
        form.refuse("current", str(slow))


def _render(visit: Visit, form: Form, status: int = HTTPStatus.OK) -> Response:
    return render(visit, "account/profile.html", status=status, form=form)


ROUTES: Final = (
    Route(PATH, Page(get=show), include_in_schema=False),
    Route(f"{PATH}/name", Page(post=save_name), include_in_schema=False),
    Route(f"{PATH}/password", Page(post=change_password), include_in_schema=False),
)
