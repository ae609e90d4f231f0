"""Forms that change a user: disable, enable, promote, demote, rename, set a password."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.people.password_rules import PasswordError
from tokenbalance.people.passwords import hash_password
from tokenbalance.people.users import Changes, InvalidName, Kept, LastSuperuser, update_user
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.admin.user import path_of, user_of, user_page
from tokenbalance.web.panel.forms import WHOLE
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit


async def disable(visit: Visit) -> Response:
    """Disable a user: their keys and tokens are refused."""
    return await _change(visit, Changes(is_active=False), Notice.USER_DISABLED)


async def enable(visit: Visit) -> Response:
    """Enable a user."""
    return await _change(visit, Changes(is_active=True), Notice.USER_ENABLED)


async def promote(visit: Visit) -> Response:
    """Make a user a superuser."""
    return await _change(visit, Changes(is_superuser=True), Notice.SUPERUSER_MADE)


async def demote(visit: Visit) -> Response:
    """Make a superuser an ordinary user."""
    return await _change(visit, Changes(is_superuser=False), Notice.SUPERUSER_UNMADE)


async def rename(visit: Visit) -> Response:
    """Change a user's name."""
    return await _change(visit, Changes(name=visit.form.typed("user-name")), Notice.USER_RENAMED)


async def set_password(visit: Visit) -> Response:
    """Set another user's password, which signs them out everywhere."""
    async with visit.management.sessions() as session:
        user = await user_of(session, visit)
    if user.id == visit.caller.user_id:
        # Whoever only found this browser open must not get to keep the user.
        visit.form.refuse(WHOLE, "change your own password on the page Profile of your account")
        return await user_page(visit, visit.form)
    try:
        rules = visit.management.password_rules
        password_hash = await hash_password(visit.form.secret("password"), rules, user.email)
    except PasswordError as error:
        visit.form.refuse("password", str(error))
        return await user_page(visit, visit.form)
    return await _change(visit, Changes(password_hash=password_hash), Notice.PASSWORD_SET)


async def _change(visit: Visit, changes: Changes, notice: Notice) -> Response:
    try:
        async with visit.management.sessions.begin() as session:
            user = await user_of(session, visit)
            _ = await update_user(session, user.id, changes, Kept(visit.caller.key_id))
    except LastSuperuser as error:
        visit.form.refuse(WHOLE, str(error))
        return await user_page(visit, visit.form)
    except InvalidName as error:
        visit.form.refuse("user-name", str(error))
        return await user_page(visit, visit.form)
    return go_to(path_of(visit), visit, notice)


ROUTES: Final = (
    route("/users/{user_id}/disable", post=disable),
    route("/users/{user_id}/enable", post=enable),
    route("/users/{user_id}/promote", post=promote),
    route("/users/{user_id}/demote", post=demote),
    route("/users/{user_id}/name", post=rename),
    route("/users/{user_id}/password", post=set_password),
)
