"""Usage by day, user, key and model. Writes nothing."""

# Columns are picked by name; the classes that rows become have the types.
# pyright: reportAny=false, reportExplicitAny=false

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    and_,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy import cast as as_type
from sqlalchemy.dialects.postgresql import JSONB

from tokenbalance.books.reports.groups import NOBODY, USER, Group, columns_of
from tokenbalance.books.reports.period import EVER, Period
from tokenbalance.books.reports.request_rows import KeyRef
from tokenbalance.books.reports.source import (
    NO_KIND,
    Source,
    days_of_usage,
    find_places,
    usage_rows,
)
from tokenbalance.books.reports.sums import SUM_NAMES, Sums, read_sums, summed
from tokenbalance.database.paging import (
    NOT_A_CURSOR,
    PAGE_ROWS,
    PAGE_ROWS_MAX,
    InvalidCursor,
    Key,
    Page,
    page_of,
    read_cursor,
)
from tokenbalance.database.tables import Account, ApiKey, User
from tokenbalance.database.whose import EMAIL, TEAM, with_whose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, RowMapping, Select, Subquery
    from sqlalchemy.ext.asyncio import AsyncSession

_PAGES_MAX: Final = 10
_WHOSE: Final = (User.id.label("answering"), EMAIL, TEAM)
_CURSOR_TYPES = {"day": str, "account_id": int, USER: int, "key_id": int, "model": str}


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Which usage, and how it is grouped."""

    account_id: int | None = None
    """None: all accounts."""
    groups: frozenset[Group] = frozenset()
    """Empty: one row, the sum of everything."""
    period: Period = EVER
    """Whole days, in UTC, are fastest."""
    among: tuple[int, ...] | None = None
    """Only these accounts, if `account_id` is None; None: all."""
    key_ids: tuple[int, ...] | None = None
    """Only usage of these keys, which are of these accounts; None: of all."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One group. Columns that usage is not grouped by are None."""

    day: date | None
    user_id: int | None
    """Who answers for the keys; also None for service keys of a team."""
    email: str | None
    """Theirs; empty if nobody does."""
    team: str | None
    """The name of the team that pays; empty: a personal account. By user only, as its id."""
    account_id: int | None
    key: KeyRef | None
    model: str | None
    """Also None for requests without a model."""
    sums: Sums


async def usage_by(
    session: AsyncSession, query: UsageQuery, after: str | None = None, limit: int = PAGE_ROWS
) -> Page[UsageRow]:
    """Read a page of groups, sorted by day, user, key and model.

    Raises:
        InvalidCursor: `after` is not a cursor of this list.

    """
    names = columns_of(query.groups)
    accounts = query.among if query.account_id is None else (query.account_id,)
    begin = None if after is None else _read(after, names)
    places = await find_places(session, query.period)
    source = Source(names, accounts, query.period, places, query.key_ids)
    groups = sums_by(source, begin).limit(limit + 1)
    await without_compiling(session)
    rows = (await session.execute(_named(groups.subquery(), names))).mappings().all()
    page = page_of(rows, limit, lambda row: _key(row, names))
    return Page([_row_of(row, query.groups) for row in page.data], page.next)


async def all_usage_by(session: AsyncSession, query: UsageQuery) -> Sequence[UsageRow]:
    """Read all groups, sorted as by `usage_by`; only the first 10,000 if there are more."""
    rows: list[UsageRow] = []
    after: str | None = None
    for _ in range(_PAGES_MAX):
        page = await usage_by(session, query, after, PAGE_ROWS_MAX)
        rows += page.data
        after = page.next
        if after is None:
            break
    return rows


def sums_by(source: Source, after: Sequence[Any] | None = None) -> Select[*tuple[Any, ...]]:
    """Build what sums usage up by the columns of its source, in their order.

    Args:
        source: which usage.
        after: values of the columns of the last group of the previous page.

    """
    each = _each(source)
    if each is not None:
        return _one_by_one(source, each, after)
    rows = _rows(source)
    columns = [rows.c[name] for name in source.columns]
    beyond = tuple_(*columns) > tuple_(*map(literal, after)) if after else true()
    groups = _grouped(rows, source.columns, beyond)
    if not source.columns:
        return groups
    found = groups.selected_columns
    return groups.having(_used(groups)).order_by(*(found[name] for name in source.columns))


def _rows(source: Source) -> Subquery:
    """Build the rows to be grouped, which have all columns of their source.

    Only in teams is it looked up who answers for a key, and only once its rows are summed: in a
    personal account it is the same for all keys, so that `NOBODY` stands for its user.
    """
    rows = usage_rows(source)
    if USER not in source.columns:
        return rows
    columns = [rows.c["key_id" if name == USER else name] for name in source.columns]
    quantity = as_type(func.sum(rows.c.quantity), BigInteger).label("quantity")
    numbers = summed([rows.c[name] for name in SUM_NAMES])
    of_keys = (
        select(*columns, rows.c.kind, quantity, *numbers)
        .group_by(*columns, rows.c.kind)
        .subquery("of_keys")
    )
    others = [column for column in of_keys.c if column.key != "key_id"]
    nobody = literal_column(str(NOBODY), BigInteger)
    # A scalar subquery is always read by the index. Small where there are few teams.
    answering = select(ApiKey.user_id).where(ApiKey.id == of_keys.c.key_id).scalar_subquery()
    teams = select(Account.id).where(Account.kind == literal_column("'team'"))
    is_of_team = of_keys.c.account_id.in_(teams)
    user_id = case((is_of_team, func.coalesce(answering, nobody)), else_=nobody).label(USER)
    return select(*others, user_id).subquery("answered")


def _grouped(
    rows: Subquery, names: Sequence[str], condition: ColumnElement[bool]
) -> Select[*tuple[Any, ...]]:
    """Build groups: their columns, their quantities by kind, their sums.

    Rows are summed by group and kind first, then by group.
    """
    columns = [rows.c[name] for name in names]
    quantity = as_type(func.sum(rows.c.quantity), BigInteger).label("quantity")
    kinds = (
        select(*columns, rows.c.kind, quantity, *summed([rows.c[name] for name in SUM_NAMES]))
        .where(condition)
        .group_by(*columns, rows.c.kind)
        .subquery("kinds")
    )
    quantities = (
        func.jsonb_object_agg(kinds.c.kind, kinds.c.quantity, type_=JSONB)
        .filter(kinds.c.kind != literal_column(f"'{NO_KIND}'"), kinds.c.quantity != 0)
        .label("quantities")
    )
    groups = [kinds.c[name] for name in names]
    numbers = summed([kinds.c[name] for name in SUM_NAMES])
    return select(*groups, quantities, *numbers).group_by(*groups)


def _used(groups: Select[*tuple[Any, ...]]) -> ColumnElement[bool]:
    """Build the condition for groups that have anything: days may have voided requests only."""
    found = groups.selected_columns
    return or_(found["quantities"].is_not(None), *(found[name] != 0 for name in SUM_NAMES))


def _each(source: Source) -> Subquery | None:
    """Build the values of the first column, if it is better to read a page one value at a time.

    The usage of all accounts is large, and a page shows little of it: reading ends when it is full.
    """
    if source.accounts is not None or "account_id" not in source.columns:
        return None
    if source.columns[0] == "account_id":
        return select(Account.id.label("account_id")).subquery("each")
    return days_of_usage(source.period).subquery("each")


def _one_by_one(
    source: Source, each: Subquery, after: Sequence[Any] | None
) -> Select[*tuple[Any, ...]]:
    first, *others = source.columns
    value: ColumnElement[Any] = literal_column(f"each.{first}", each.c[first].type)
    rows = _rows(replace(source, accounts=value) if first == "account_id" else source)
    condition = rows.c[first] == value
    if after:
        beyond = tuple_(value, *(rows.c[name] for name in others)) > tuple_(*map(literal, after))
        condition = and_(condition, beyond)
    groups = _grouped(rows, others, condition)
    groups = groups.having(_used(groups))
    found = groups.lateral("found")
    page = select(each.c[first], *found.c).select_from(each.join(found, true()))
    if after:
        page = page.where(each.c[first] >= after[0])
    return page.order_by(each.c[first], *(found.c[name] for name in others))


async def without_compiling(session: AsyncSession) -> None:
    """Turn JIT off for this transaction: compiling takes longer than the statements."""
    await session.execute(text("SET LOCAL jit = off"))


def _named(groups: Subquery, names: tuple[str, ...]) -> Select[*tuple[Any, ...]]:
    """Add users, teams and keys to the groups of a page."""
    named = select(groups)
    if "key_id" in names:
        key = (ApiKey.prefix, ApiKey.name.label("key_name"), ApiKey.kind)
        named = named.add_columns(*_WHOSE, *key).join(ApiKey, ApiKey.id == groups.c.key_id)
        named = with_whose(named, groups.c.account_id)
    elif USER in names:
        user_id = func.coalesce(func.nullif(groups.c[USER], NOBODY), Account.user_id)
        named = (
            named.add_columns(*_WHOSE)
            .join(Account, Account.id == groups.c.account_id)
            .outerjoin(User, User.id == user_id)
        )
    return named.order_by(*(groups.c[name] for name in names))


def _read(after: str, names: tuple[str, ...]) -> list[Any]:
    values = read_cursor(after, tuple(_CURSOR_TYPES[name] for name in names))
    try:
        read = [
            date.fromisoformat(str(value)) if name == "day" else value
            for name, value in zip(names, values, strict=True)
        ]
    except ValueError:
        read = []
    if not read:
        raise InvalidCursor(NOT_A_CURSOR)
    return read


def _key(row: RowMapping, names: tuple[str, ...]) -> Key:
    return tuple(row[name].isoformat() if name == "day" else row[name] for name in names)


def _row_of(row: RowMapping, groups: frozenset[Group]) -> UsageRow:
    by_user, by_key = Group.USER in groups, Group.KEY in groups
    return UsageRow(
        day=row["day"] if Group.DAY in groups else None,
        user_id=row["answering"] if by_user else None,
        email=row["email"] if by_user else None,
        team=row["team"] if by_user else None,
        account_id=row["account_id"] if by_user else None,
        key=KeyRef(row["key_id"], row["prefix"], row["key_name"], row["kind"]) if by_key else None,
        model=(row["model"] or None) if Group.MODEL in groups else None,
        sums=read_sums(row),
    )
