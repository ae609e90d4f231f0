"""The page of the limits of a key, a member, a project or an account: what is left, budgets.

Several places show it: one's own keys; all of a team's; and for superusers the keys and the account
of a user, and the account of a team. Who may change what is decided by `people`.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenbalance.books.reports.limit_states import limit_states
from tokenbalance.model.limits import (
    ACCOUNT,
    CALENDAR,
    subject_of_key,
    subject_of_member,
    subject_of_project,
)
from tokenbalance.people.access import require_superuser, sees_everything
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
from tokenbalance.people.teams.members import change_member, get_member
from tokenbalance.people.teams.projects import change_project, get_project
from tokenbalance.web.panel.forms import WHOLE, Form
from tokenbalance.web.panel.key_form import read_limits
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to, render

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response

    from tokenbalance.database.connections import Session
    from tokenbalance.people.limits import KeyLimits, LimitChanges
    from tokenbalance.people.rows import AccountRow, KeyRow
    from tokenbalance.web.panel.visit import Visit

Admit: TypeAlias = "Callable[[Session], Awaitable[object]]"
_EVERY: Final = {period: f"every {period}" for period in CALENDAR}
_UNITS: Final = {unit: unit for unit in BUDGET_UNITS}
_BUDGET_FIELD: Final = "budget-"
_WHOLE_BUDGET: Final = frozenset({"budgets", "anchor"})


@dataclass(frozen=True, slots=True)
class Place:
    """Whose limits a page shows, and where it is."""

    account_id: int
    key_id: int | None
    """Where all three ids are None: those of the account."""
    path: str
    back: str
    frame: str
    """The template around it."""
    member_id: int | None = None
    project_id: int | None = None
    may_limit: bool = True
    """Whether the visitor may set limits; False: budgets only."""
    admit: Admit | None = None
    """Of a team: requires in the transaction of a change that the visitor may make it."""

    @property
    def subject(self) -> str:
        """Whose limits, as the books name it."""
        if self.key_id is not None:
            return subject_of_key(self.key_id)
        if self.member_id is not None:
            return subject_of_member(self.member_id)
        return ACCOUNT if self.project_id is None else subject_of_project(self.project_id)

    @property
    def of_whom(self) -> tuple[int | None, int | None, int | None]:
        """Whose limits, as budgets name it."""
        return self.key_id, self.member_id, self.project_id


@dataclass(frozen=True, slots=True)
class _Limited:
    """What is limited."""

    name: str
    limits: KeyLimits
    binds: str
    """Which requests."""
    key: KeyRow | None = None


async def show(visit: Visit, place: Place, form: Form | None = None) -> Response:
    """Show limits and budgets, with what is left of them.

    Raises:
        UnknownKey, UnknownMember, UnknownProject: the account has no such thing.

    """
    form = Form() if form is None else form
    async with visit.management.sessions() as session:
        account = await get_account(session, place.account_id)
        limited = await _find(session, place, account)
        budgets = await list_budgets(session, place.account_id, place.key_id)
        states = await limit_states(session, place.account_id, [place.subject])
    return render(
        visit,
        "limits.html",
        status=HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK,
        form=form,
        place=place,
        account=account,
        limited=limited,
        key=limited.key,
        budgets=[
            budget
            for budget in budgets
            if (budget.key_id, budget.member_id, budget.project_id) == place.of_whom
        ],
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
                await _admit(session, place)
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
            await _admit(session, place)
            _ = await add_budget(
                session,
                place.account_id,
                amount=amount,
                every=f"{days} days" if days else every,
                name=form.text("budget-name") or None,
                unit=form.one_of("budget-unit", _UNITS) or BUDGET_UNITS[0],
                key_id=place.key_id,
                member_id=place.member_id,
                project_id=place.project_id,
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
            await _admit(session, place)
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


async def _admit(session: Session, place: Place) -> None:
    if place.admit is not None:
        await place.admit(session)


async def _find(session: Session, place: Place, account: AccountRow) -> _Limited:
    if place.key_id is not None:
        key = await get_key(session, place.key_id, place.account_id)
        return _Limited(key.name or f"{key.prefix}…", key.limits, "requests with this key", key)
    if place.member_id is not None:
        member = await get_member(session, place.account_id, place.member_id)
        return _Limited(member.email, member.limits, "all keys of this member together")
    if place.project_id is not None:
        project = await get_project(session, place.account_id, place.project_id)
        return _Limited(project.name, project.limits, "all keys of this project together")
    name = account.name or f"account {account.id}"
    return _Limited(name, account.limits, "all keys of the account together")


async def _change(session: Session, visit: Visit, place: Place, limits: LimitChanges) -> None:
    account = await get_account(session, place.account_id)
    limited = await _find(session, place, account)
    changed = _changed(limits, limited.limits)
    by_superuser, actor = sees_everything(visit.caller), visit.actor
    if limited.key is not None:
        await _change_key(session, visit, limited.key, changed)
    elif place.member_id is not None:
        _ = await change_member(
            session,
            account.id,
            place.member_id,
            by_superuser=by_superuser,
            actor=actor,
            limits=changed,
        )
    elif place.project_id is not None:
        _ = await change_project(
            session,
            account.id,
            place.project_id,
            by_superuser=by_superuser,
            actor=actor,
            limits=changed,
        )
    else:
        require_superuser(visit.caller)
        zone = visit.form.text(TIME_ZONE) or None
        _ = await change_account_limits(session, account.id, changed, zone, actor=actor)


async def _change_key(session: Session, visit: Visit, key: KeyRow, limits: LimitChanges) -> None:
    form = visit.form
    changes = KeyChanges(limits=limits)
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
        key.account_id,
        by_superuser=sees_everything(visit.caller),
        actor=visit.actor if key.account_id == visit.caller.account_id else visit.actor.for_team,
        **changes,
    )


def _changed(limits: LimitChanges, before: KeyLimits) -> LimitChanges:
    """Return what the form has changed: the rest must not become what a superuser has set."""
    old = before.values()
    return {name: value for name, value in limits.items() if value != old[name]}
