"""Budgets of accounts, keys, members and projects: any number each; all must allow a request.

Works in the caller's transaction and never commits. What was used of a budget is only read here.

    who                     may change
    a superuser             all of them
    a user                  those of the own keys, but for those that a superuser has set
    who administers a team  all of the team, but for those that a superuser has set
"""

from __future__ import annotations

from datetime import datetime, time
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from tokenbalance.database.ids import ID_MAX
from tokenbalance.database.tables import Limit
from tokenbalance.model.limits import (
    ACCOUNT,
    CALENDAR,
    subject_of_key,
    subject_of_member,
    subject_of_project,
)
from tokenbalance.people.account_limits import get_account
from tokenbalance.people.budget_rows import (
    Budget,
    clean_amount,
    clean_name,
    clean_period,
    clean_unit,
    key_of,
    member_of,
    project_of,
)
from tokenbalance.people.key_lists import get_key
from tokenbalance.people.limit_rows import BUDGET, NOT_BEGUN, lock_counts, renew_versions
from tokenbalance.people.limits import InvalidLimit
from tokenbalance.people.teams.members import get_member
from tokenbalance.people.teams.projects import get_project
from tokenbalance.people.traces import record_budget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.database.tables import ApiKey
    from tokenbalance.model import Actor

_YEAR_MIN: Final = 1970
_YEAR_MAX: Final = 2999
BUDGETS_MAX: Final = 100
"""Of one key, member or project, or of one account: each is a row that a request takes from."""


class BudgetError(Exception):
    """The change of a budget is refused; the message is one line for people."""


class UnknownBudget(BudgetError):
    """No budget of the account has this id."""

    def __init__(self, budget_id: int) -> None:
        super().__init__(f"no budget of this account has the id {budget_id}")


class BudgetIsBound(BudgetError):
    """Only a superuser may change the budget."""

    def __init__(self) -> None:
        super().__init__("this budget can be changed only by a superuser")


class HasBudgets(BudgetError):
    """The key that asks has budgets itself: it would give what it does not have."""


async def list_budgets(
    session: AsyncSession, account_id: int, key_id: int | None = None
) -> Sequence[Budget]:
    """Return all budgets of an account, in the order in which they were added.

    Args:
        session: the caller's transaction.
        account_id: which account.
        key_id: only those of this key; None: all.

    """
    query = _budgets(account_id).order_by(Limit.id)
    if key_id is not None:
        query = query.where(Limit.subject == subject_of_key(key_id))
    return [_budget(row) for row in await session.scalars(query)]


async def add_budget(  # noqa: PLR0913 - the fields of a budget, by name
    session: AsyncSession,
    account_id: int,
    *,
    amount: int,
    every: str,
    name: str | None = None,
    unit: str = "credits",
    anchor: datetime | None = None,
    key_id: int | None = None,
    member_id: int | None = None,
    project_id: int | None = None,
    by_superuser: bool,
    actor: Actor,
) -> Budget:
    """Add a budget, of which nothing is used yet.

    Args:
        session: the caller's transaction.
        account_id: the account that pays.
        amount: credits or tokens in each period.
        every: a period of the calendar, in the time zone of the account, or a number of days.
        name: what it is for; None: named by its period. No other of the same subject has it.
        unit: `credits` or `tokens`.
        anchor: when a period of days begins; None: with today, in the time zone of the account.
        key_id: only of this key.
        member_id: only of all keys of a team together that this user has.
        project_id: only of all keys of a project together. If none of the three is given, of all
            keys of the account together.
        by_superuser: whether a superuser adds it.
        actor: who adds it, to be recorded.

    Raises:
        UnknownAccount, UnknownKey, UnknownMember, UnknownProject: the account has no such thing, or
            does not exist.
        BudgetIsBound: it is a personal account's, and nobody but a superuser may add it.
        InvalidLimit: a value is not valid, the name is in use, or several subjects are named.

    """
    account = await get_account(session, account_id)
    await lock_counts(session, account_id)
    subject = await _subject(session, account_id, key_id, member_id, project_id)
    if subject == ACCOUNT and account.user_id is not None and not by_superuser:
        raise BudgetIsBound
    every = clean_period(every)
    if every in CALENDAR and anchor is not None:
        raise InvalidLimit("anchor", f"is only for a number of days; a {every} has its own begin")
    if every not in CALENDAR:
        anchor = _checked(anchor) if anchor else _today(account.time_zone)
    await _require_room(session, account_id, subject)
    row = await session.scalar(
        insert(Limit)
        .values(
            account_id=account_id,
            subject=subject,
            name=f"{BUDGET}{clean_name(every if name is None else name)}",
            unit=clean_unit(unit),
            period=every,
            amount=clean_amount(amount),
            anchor=anchor,
            window_end=NOT_BEGUN,
            is_bound=by_superuser,
        )
        .on_conflict_do_nothing()
        .returning(Limit)
    )
    if row is None:
        raise _in_use()
    await renew_versions(session, account_id, key_id)
    budget = _budget(row)
    record_budget(session, actor, account, None, budget)
    return budget


async def change_budget(  # noqa: PLR0913 - the fields of a budget, by name
    session: AsyncSession,
    account_id: int,
    budget_id: int,
    *,
    amount: int | None = None,
    name: str | None = None,
    by_superuser: bool,
    by_key_id: int | None = None,
    actor: Actor,
) -> Budget:
    """Change a budget; what is used of it stays used. None leaves a value as it is.

    A key that asks, `by_key_id`, changes none if it has budgets itself.

    Raises:
        UnknownBudget: no budget of the account has this id.
        BudgetIsBound, HasBudgets: nobody but a superuser may change it, or not with this key.
        InvalidLimit: a value is not valid, or the name is in use.

    """
    row = await _lock_budget(session, account_id, budget_id, by_superuser, by_key_id)
    before = _budget(row)
    if name is not None and clean_name(name) != before.name:
        if await _has_name(session, row, clean_name(name)):
            raise _in_use()
        row.name = f"{BUDGET}{clean_name(name)}"
    if amount is not None:
        row.amount = clean_amount(amount)
    row.is_bound = by_superuser
    await session.flush()
    await renew_versions(session, account_id, before.key_id)
    after = _budget(row)
    record_budget(session, actor, await get_account(session, account_id), before, after)
    return after


async def remove_budget(  # noqa: PLR0913 - each says who asks for what
    session: AsyncSession,
    account_id: int,
    budget_id: int,
    *,
    by_superuser: bool,
    by_key_id: int | None = None,
    actor: Actor,
) -> Budget:
    """Remove a budget, and return it as it was.

    A key that asks, `by_key_id`, removes none if it has budgets itself.

    Raises:
        UnknownBudget: no budget of the account has this id.
        BudgetIsBound, HasBudgets: nobody but a superuser may remove it, or not with this key.

    """
    row = await _lock_budget(session, account_id, budget_id, by_superuser, by_key_id)
    removed = _budget(row)
    await session.execute(
        delete(Limit).where(Limit.account_id == account_id, Limit.id == removed.id),
        execution_options={"synchronize_session": False},
    )
    session.expunge(row)
    await renew_versions(session, account_id, removed.key_id)
    record_budget(session, actor, await get_account(session, account_id), removed, None)
    return removed


async def copy_budgets(session: AsyncSession, from_key_id: int, key: ApiKey) -> None:
    """Give a new key the budgets of the key that it is made with; nothing of them is used.

    What only a superuser may change stays so. Follow it with `bind_key`.
    """
    maker = await get_key(session, from_key_id, None)
    for budget in await list_budgets(session, maker.account_id, maker.id):
        _ = await session.execute(
            insert(Limit).values(
                account_id=key.account_id,
                subject=subject_of_key(key.id),
                name=f"{BUDGET}{budget.name}",
                unit=budget.unit,
                period=budget.every,
                amount=budget.amount,
                anchor=budget.anchor,
                window_end=NOT_BEGUN,
                is_bound=budget.is_bound,
            )
        )


async def _lock_budget(
    session: AsyncSession,
    account_id: int,
    budget_id: int,
    by_superuser: bool,  # noqa: FBT001 - passed on
    by_key_id: int | None,
) -> Limit:
    await lock_counts(session, account_id)
    # The column cannot even be compared with a larger number.
    one = Limit.id == (budget_id if 0 < budget_id <= ID_MAX else 0)
    query = _budgets(account_id).where(one)
    row = await session.scalar(query, execution_options={"populate_existing": True})
    if row is None:
        raise UnknownBudget(budget_id)
    if not by_superuser and row.is_bound:
        raise BudgetIsBound
    if by_key_id is not None and await _has_budgets(session, by_key_id):
        msg = "a key that has budgets cannot change any: sign in, or use another key"
        raise HasBudgets(msg)
    return row


async def _has_budgets(session: AsyncSession, key_id: int) -> bool:
    own = select(Limit.id).where(
        Limit.subject == subject_of_key(key_id), Limit.name.startswith(BUDGET)
    )
    return await session.scalar(own.limit(1)) is not None


async def _subject(
    session: AsyncSession,
    account_id: int,
    key_id: int | None,
    member_id: int | None,
    project_id: int | None,
) -> str:
    """Name the subject of a new budget, which must be the account's."""
    if sum(one is not None for one in (key_id, member_id, project_id)) > 1:
        raise InvalidLimit("key_id", "can be given without member_id and project_id only")
    if key_id is not None:
        return subject_of_key((await get_key(session, key_id, account_id)).id)
    if member_id is not None:
        return subject_of_member((await get_member(session, account_id, member_id)).user_id)
    if project_id is not None:
        return subject_of_project((await get_project(session, account_id, project_id)).id)
    return ACCOUNT


async def _require_room(session: AsyncSession, account_id: int, subject: str) -> None:
    counting = select(func.count()).select_from(
        _budgets(account_id).where(Limit.subject == subject).subquery()
    )
    if (await session.scalar(counting) or 0) >= BUDGETS_MAX:
        raise InvalidLimit("budgets", f"there are {BUDGETS_MAX} already: remove one first")


async def _has_name(session: AsyncSession, row: Limit, name: str) -> bool:
    others = _budgets(row.account_id).where(
        Limit.subject == row.subject, Limit.name == f"{BUDGET}{name}"
    )
    return await session.scalar(others) is not None


def _in_use() -> InvalidLimit:
    return InvalidLimit("name", "another budget of the same subject has this name")


def _budgets(account_id: int) -> Select[Limit]:
    return select(Limit).where(Limit.account_id == account_id, Limit.name.startswith(BUDGET))


def _budget(row: Limit) -> Budget:
    return Budget(
        id=row.id,
        account_id=row.account_id,
        key_id=key_of(row.subject),
        member_id=member_of(row.subject),
        project_id=project_of(row.subject),
        name=row.name.removeprefix(BUDGET),
        unit="tokens" if row.unit == "tokens" else "credits",
        amount=row.amount,
        every=row.period,
        anchor=row.anchor,
        created_at=row.created_at,
        is_bound=row.is_bound,
    )


def _checked(anchor: datetime) -> datetime:
    if anchor.tzinfo is None:
        raise InvalidLimit("anchor", "must have a time zone")
    if not _YEAR_MIN <= anchor.year <= _YEAR_MAX:
        raise InvalidLimit("anchor", f"must be from {_YEAR_MIN} to {_YEAR_MAX}")
    return anchor


def _today(time_zone: str) -> datetime:
    zone = ZoneInfo(time_zone)
    return datetime.combine(datetime.now(zone).date(), time(), zone)
