"""The form that creates a key, as in pieces/keys.html: its fields, and the key that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.model import SCOPES
from tokenbalance.people.access import sees_everything
from tokenbalance.people.bounded_limits import new_limits
from tokenbalance.people.key_errors import InvalidExpiry, InvalidKeyName, InvalidScopes
from tokenbalance.people.key_fields import STATUS_CHOICES
from tokenbalance.people.keys import create_key
from tokenbalance.people.limit_text import EMPTY, LISTS
from tokenbalance.people.limits import LIMIT_MAX, LIMITS, InvalidLimit, limit_value

if TYPE_CHECKING:
    from tokenbalance.database.connections import Session
    from tokenbalance.model import Scope
    from tokenbalance.people.limits import LimitChanges, LimitValue
    from tokenbalance.people.rows import KeyRow
    from tokenbalance.web.panel.forms import Form
    from tokenbalance.web.panel.visit import Visit

_STATUSES: Final = {str(status): str(status) for status in STATUS_CHOICES}


async def create_from_form(
    session: Session,
    account_id: int,
    visit: Visit,
    *,
    user_id: int | None = None,
    project_id: int | None = None,
) -> tuple[KeyRow, str] | None:
    """Create the key of a form, and its secret; None if errors were added to the form.

    Args:
        session: the caller's transaction.
        account_id: the account that pays.
        visit: the one that sent the form.
        user_id: of a team's key: the member who answers for it; None: nobody.
        project_id: of a team's key: its project; None: none.

    """
    form = visit.form
    expires_at, limits = form.end_of_day("expires_on"), read_limits(form)
    insufficient_status, scopes = read_insufficient_status(form), read_scopes(form)
    if form.errors:
        return None
    try:
        bounded = new_limits(
            # What is left empty is the operator's limit for new keys.
            {name: value for name, value in limits.items() if value is not None},
            visit.management.key_limits,
            by_superuser=sees_everything(visit.caller),
        )
        return await create_key(
            session,
            account_id,
            name=form.typed("name"),
            expires_at=expires_at,
            limits=bounded.limits,
            bounds=bounded.bounds,
            insufficient_status=insufficient_status,
            force_store_false=form.flag("force_store_false"),
            scopes=scopes,
            user_id=user_id,
            project_id=project_id,
            actor=visit.actor,
        )
    except InvalidKeyName as error:
        form.refuse("name", str(error))
    except InvalidExpiry as error:
        form.refuse("expires_on", str(error))
    except InvalidScopes as error:
        form.refuse("scopes", str(error))
    except InvalidLimit as error:
        form.refuse(error.field, error.reason)
    return None


def read_limits(form: Form) -> LimitChanges:
    """Read all limits; an empty field is no limit. Errors are added to the form."""
    return {name: _read_limit(form, name) for name in LIMITS}


def _read_limit(form: Form, name: str) -> LimitValue:
    if name not in LISTS:
        return form.integer(name, minimum=1, maximum=LIMIT_MAX)
    entries = form.text(name, chars_max=4000).replace(",", " ").replace("|", " ").split()
    if not entries:
        return None
    try:
        return limit_value(name, [] if entries == [EMPTY] else entries)
    except InvalidLimit as error:
        form.refuse(name, error.reason)
        return None


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
