"""Creates a user with an opening balance and a first key, all in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbalance.books.ledger.credits import Cause, CreditError, check_amount, grant
from tokenbalance.people.key_errors import ApiKeyError, InvalidExpiry
from tokenbalance.people.keys import create_key
from tokenbalance.people.password_rules import PasswordError
from tokenbalance.people.passwords import hash_password
from tokenbalance.people.users import InvalidName, UserError, clean_email, clean_name, create_user
from tokenbalance.web.panel.admin.key_secret import keys_of
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.forms import Form
from tokenbalance.web.panel.key_secret import lead_to_secret
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to, render

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.responses import Response

    from tokenbalance.database.connections import Session
    from tokenbalance.model import Actor
    from tokenbalance.people.limits import KeyLimits
    from tokenbalance.people.password_rules import PasswordRules
    from tokenbalance.people.rows import KeyRow, UserRow
    from tokenbalance.web.panel.visit import Visit

_OPENING_NOTE: Final = "opening balance"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """The values of the form."""

    email: str
    name: str
    password_hash: str | None = field(repr=False)
    is_superuser: bool
    balance: int
    key: _WantedKey | None


@dataclass(frozen=True, slots=True)
class _WantedKey:
    name: str
    expires_at: datetime | None


async def show(visit: Visit) -> Response:
    """Show the form."""
    return render(visit, "admin/new-user.html", form=Form({"key": "yes"}))


async def create(visit: Visit) -> Response:
    """Create the user, and redirect to the key's secret if one was requested."""
    form = visit.form
    wanted = await _read(form, visit.management.password_rules)
    if not form.errors:
        try:
            async with visit.management.sessions.begin() as session:
                user, made = await _make(session, wanted, visit.management.key_limits, visit.actor)
        except (UserError, CreditError, ApiKeyError) as error:
            form.refuse(_field_of(error), str(error))
        else:
            if made is None:
                return go_to(f"/admin/users/{user.id}", visit, Notice.USER_CREATED)
            return lead_to_secret(visit, keys_of(user.id), made, Notice.USER_CREATED)
    if form.secret("password"):
        # The form does not show it again; without this error it might be left out unnoticed.
        form.refuse("password", "enter the password again")
    return render(visit, "admin/new-user.html", status=HTTPStatus.BAD_REQUEST, form=form)


async def _read(form: Form, rules: PasswordRules) -> _Wanted:
    key = _WantedKey(form.text("key-name"), form.end_of_day("key-expires"))
    wanted = _Wanted(
        email=form.text("email", required=True),
        name=form.text("name"),
        password_hash=None,
        is_superuser=form.flag("superuser"),
        balance=form.credits("balance", minimum=0) or 0,
        key=key if form.flag("key") else None,
    )
    _check(form, wanted, rules)
    if form.errors or not form.secret("password"):
        return wanted
    # Last: a form with errors is not worth the work.
    password_hash = await hash_password(form.secret("password"), rules, wanted.email)
    return replace(wanted, password_hash=password_hash)


def _check(form: Form, wanted: _Wanted, rules: PasswordRules) -> None:
    """Add all errors at once, except those that only the database finds."""

    def check_password(password: str) -> None:
        rules.check(password, wanted.email)

    for name, check, value in (
        ("email", clean_email, wanted.email),
        ("name", clean_name, wanted.name),
        ("password", check_password, form.secret("password")),
    ):
        try:
            if value:
                _ = check(value)
        except (UserError, PasswordError) as error:
            form.refuse(name, str(error))
    try:
        check_amount(wanted.balance)
    except CreditError as error:
        form.refuse("balance", str(error))


async def _make(
    session: Session, wanted: _Wanted, limits: KeyLimits, actor: Actor
) -> tuple[UserRow, tuple[KeyRow, str] | None]:
    user = await create_user(
        session,
        email=wanted.email,
        name=wanted.name,
        password_hash=wanted.password_hash,
        is_superuser=wanted.is_superuser,
        actor=actor,
    )
    account_id = user.account.id
    if wanted.balance:
        _ = await grant(session, account_id, wanted.balance, Cause(actor, _OPENING_NOTE))
    if wanted.key is None:
        return user, None
    key = await create_key(
        session,
        account_id,
        name=wanted.key.name,
        expires_at=wanted.key.expires_at,
        limits=limits,
        bounds=limits,
        actor=actor,
    )
    return user, key


def _field_of(error: Exception) -> str:
    if isinstance(error, CreditError):
        return "balance"
    if isinstance(error, ApiKeyError):
        return "key-expires" if isinstance(error, InvalidExpiry) else "key-name"
    return "name" if isinstance(error, InvalidName) else "email"


ROUTES: Final = (route("/users/new", get=show, post=create),)
