"""The page of the limits of one key or one account: what is left, its limits, its budgets.

Three places show it: one's own keys, and for superusers the keys of a user and the user's account.
Who may change what is decided below, by `people`.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbalance.books.reports.limit_states import limit_states
from tokenbalance.model.limits import ACCOUNT, CALENDAR, subject_of_key
from tokenbalance.people.access import sees_everything
from tokenbalance.people.account_limits import TIME_ZONE, change_account_limits, get_account
from tokenbalance.people.budget_rows import BUDGET_UNITS
from tokenbalance.people.budgets import (
    BudgetError,
    UnknownBudget,
    add_budget,
    list_budgets,
    remove_budget,
)
from tokenbalance.people.end_users import FROM, LIMITS_OF, limits_of_each
from tokenbalance.people.key_changes import KeyChanges, change_key
from tokenbalance.people.key_errors import ApiKeyError, UnknownKey
from tokenbalance.people.key_lists import get_key
from tokenbalance.people.limit_text import read_limits as read_text
from tokenbalance.people.limits import LIMIT_MAX, InvalidLimit
from tokenbalance.web.panel.forms import WHOLE, Form
from tokenbalance.web.panel.key_form import read_limits
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to, render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.database.connections import Session
    from tokenbalance.people.limits import KeyLimits, LimitChanges
    from tokenbalance.web.panel.visit import Visit

_EVERY: Final = {period: f"every {period}" for period in CALENDAR}
_UNITS: Final = {unit: unit for unit in BUDGET_UNITS}
_BUDGET_FIELD: Final = "budget-"
_WHOLE_BUDGET: Final = frozenset({"budgets", "anchor"})


@dataclass(frozen=True, slots=True)
class Place:
    """Whose limits a page shows, and where it is."""

    account_id: int
    key_id: int | None
    """None: those of the account."""
    path: str
    back: str
    frame: str
    """The template around it."""


async def show(visit: Visit, place: Place, form: Form | None = None) -> Response:
    """Show limits and budgets, with what is left of them.

    Raises:
        UnknownKey: the account has no such key.

    """
    form = Form() if form is None else form
    subject = ACCOUNT if place.key_id is None else subject_of_key(place.key_id)
    async with visit.management.sessions() as session:
        account = await get_account(session, place.account_id)
        key = None
        if place.key_id is not None:
            key = await get_key(session, place.key_id, place.account_id)
        budgets = await list_budgets(session, place.account_id, place.key_id)
        states = await limit_states(session, place.account_id, [subject])
    return render(
        visit,
        "limits.html",
        status=HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK,
        form=form,
        place=place,
        account=account,
        key=key,
        limits=account.limits if key is None else key.limits,
        budgets=[budget for budget in budgets if budget.key_id == place.key_id],
        states=states,
        every=_EVERY,
        units=_UNITS,
    )


async def save(visit: Visit, place: Place) -> Response:
    """Save the limits of the form."""
    form = visit.form
    limits = read_limits(form)
    if not form.errors:
        try:
            async with visit.management.sessions.begin() as session:
                await _change(session, visit, place, limits)
        except InvalidLimit as error:
            form.refuse(error.field, error.reason)
        except UnknownKey:
            raise
        except ApiKeyError as error:
            form.refuse(WHOLE, str(error))
        else:
            return go_to(place.path, visit, Notice.LIMITS_SAVED)
    return await show(visit, place, form)


async def add(visit: Visit, place: Place) -> Response:
    """Add the budget of the form."""
    form = visit.form
    amount = form.integer("budget-amount", minimum=1, maximum=LIMIT_MAX)
    every = form.one_of("budget-every", _EVERY)
    days = form.integer("budget-days", minimum=1)
    if amount is None:
        form.refuse("budget-amount", "enter an amount")
    if amount is None or form.errors:
        return await show(visit, place, form)
    try:
        async with visit.management.sessions.begin() as session:
            _ = await add_budget(
                session,
                place.account_id,
                amount=amount,
                every=f"{days} days" if days else every,
                name=form.text("budget-name") or None,
                unit=form.one_of("budget-unit", _UNITS) or BUDGET_UNITS[0],
                key_id=place.key_id,
                by_superuser=sees_everything(visit.caller),
                actor=visit.actor,
            )
    except InvalidLimit as error:
        whole = error.field in _WHOLE_BUDGET
        form.refuse(WHOLE if whole else f"{_BUDGET_FIELD}{error.field}", error.reason)
    except BudgetError as error:
        form.refuse(WHOLE, str(error))
    else:
        return go_to(place.path, visit, Notice.BUDGET_ADDED)
    return await show(visit, place, form)


async def remove(visit: Visit, place: Place) -> Response:
    """Remove the budget whose id is in the path."""
    form = visit.form
    try:
        async with visit.management.sessions.begin() as session:
            _ = await remove_budget(
                session,
                place.account_id,
                visit.number("budget_id"),
                by_superuser=sees_everything(visit.caller),
                actor=visit.actor,
            )
    except UnknownBudget:
        raise
    except BudgetError as error:
        form.refuse(WHOLE, str(error))
        return await show(visit, place, form)
    return go_to(place.path, visit, Notice.BUDGET_REMOVED)


async def _change(session: Session, visit: Visit, place: Place, limits: LimitChanges) -> None:
    form = visit.form
    if place.key_id is None:
        account = await get_account(session, place.account_id)
        _ = await change_account_limits(
            session,
            place.account_id,
            _changed(limits, account.limits),
            form.text(TIME_ZONE) or None,
            actor=visit.actor,
        )
        return
    key = await get_key(session, place.key_id, place.account_id)
    changes = KeyChanges(limits=_changed(limits, key.limits))
    changes[FROM] = form.text(FROM) or None
    try:
        texts = form.text(LIMITS_OF, chars_max=4000).replace(",", " ").split()
        changes[LIMITS_OF] = limits_of_each(read_text(texts))
    except InvalidLimit as error:
        reason = error.reason if error.field == LIMITS_OF else str(error)
        raise InvalidLimit(LIMITS_OF, reason) from None
    _ = await change_key(
        session,
        key.id,
        place.account_id,
        by_superuser=sees_everything(visit.caller),
        actor=visit.actor,
        **changes,
    )


def _changed(limits: LimitChanges, before: KeyLimits) -> LimitChanges:
    """Return what the form has changed: the rest must not become what a superuser has set."""
    old = before.values()
    return {name: value for name, value in limits.items() if value != old[name]}
