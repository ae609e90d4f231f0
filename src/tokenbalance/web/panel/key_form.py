"""The form that creates a key, as in pieces/keys.html: its fields, and the key that they make."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Final

from tokenbalance.model import SCOPES
from tokenbalance.people.key_errors import InvalidExpiry, InvalidKeyName
from tokenbalance.people.keys import STATUS_CHOICES, create_key
from tokenbalance.people.limits import LIMIT_MAX, InvalidLimit, KeyLimits

if TYPE_CHECKING:
    from tokenbalance.database.connections import Session
    from tokenbalance.model import Actor, Scope
    from tokenbalance.people.rows import KeyRow
    from tokenbalance.web.panel.forms import Form

_STATUSES: Final = {str(status): str(status) for status in STATUS_CHOICES}


async def create_from_form(
    session: Session, account_id: int, form: Form, actor: Actor
) -> tuple[KeyRow, str] | None:
    """Create the key of a form, and its secret; None if errors were added to the form."""
    expires_at, limits = form.end_of_day("expires_on"), read_limits(form)
    insufficient_status, scopes = read_insufficient_status(form), read_scopes(form)
    if form.errors:
        return None
    try:
        return await create_key(
            session,
            account_id,
            name=form.typed("name"),
            expires_at=expires_at,
            limits=limits,
            insufficient_status=insufficient_status,
            force_store_false=form.flag("force_store_false"),
            scopes=scopes,
            actor=actor,
        )
    except InvalidKeyName as error:
        form.refuse("name", str(error))
    except InvalidExpiry as error:
        form.refuse("expires_on", str(error))
    return None


def read_limits(form: Form) -> KeyLimits:
    """Read a key's limits; an empty field is no limit. Errors are added to the form."""
    numbers = {
        name: form.integer(name, minimum=1, maximum=LIMIT_MAX)
        for name in (field.name for field in fields(KeyLimits))
        if name != "models"
    }
    patterns = form.text("models", chars_max=4000).replace(",", " ").split()
    if not form.errors:
        try:
            return KeyLimits(**numbers, models=tuple(patterns) or None)
        except InvalidLimit as error:
            form.refuse(error.field, str(error).partition(": ")[2])
    return KeyLimits()


def read_scopes(form: Form) -> tuple[Scope, ...]:
    """Read what the key may be used for. An error is added to the form."""
    scopes: tuple[Scope, ...] = tuple(scope for scope in SCOPES if form.flag(f"scope-{scope}"))
    if not scopes:
        form.refuse("scopes", "choose at least one")
    return scopes


def read_insufficient_status(form: Form) -> int | None:
    """Read the status of a request that the balance does not cover; None: the server's default."""
    chosen = form.one_of("insufficient_status", _STATUSES)
    return int(chosen) if chosen else None
