"""Sums of usage: quantities by kind, tokens in total, credits, and numbers of requests."""

# Columns are picked by name; the classes that rows become have the types.
# pyright: reportAny=false, reportExplicitAny=false

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import BigInteger, ColumnElement, Integer, case, func, literal_column, select
from sqlalchemy import cast as as_type
from sqlalchemy.orm import aliased

from tokenbalance.books.reports.lookups import by_request_only
from tokenbalance.database.tables import LedgerEntry, UsageSums

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import RowMapping
    from sqlalchemy.sql.elements import KeyedColumnElement


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Sums over requests that were charged."""

    quantities: Mapping[str, int] = field(default_factory=dict[str, int])
    """By kind, without zeros."""
    requests: int = 0
    total: int = 0
    """Total tokens as the upstream reported them."""
    charge: int = 0
    """Credits."""
    overrun: int = 0
    """Credits by which charges were more than their holds."""
    overruns: int = 0
    """Charges that were more than their holds."""
    estimated: int = 0
    """Charges that are estimates."""


SUM_NAMES: Final = tuple(each.name for each in fields(Sums) if each.name != "quantities")
"""The names of the sums that are columns; the same in the tables."""
MODEL: Final[ColumnElement[str]] = func.coalesce(LedgerEntry.model, literal_column("''")).label(
    "model"
)
"""The model of a request, as the tables of sums have it."""
HAS_USAGE: Final[ColumnElement[bool]] = LedgerEntry.kind.in_(
    ("charge", "adjustment")
) & LedgerEntry.key_id.is_not(None)
"""The rows of the ledger that are summed: charges of requests, their corrections and rerates."""


def amounts_of_usage() -> list[ColumnElement[int]]:
    """Build what one row of the ledger adds to the sums, in their order.

    A correction is no further request, and adds differences. A rerate adds credits only.
    """
    is_end = LedgerEntry.state.is_not(None)
    is_rerate = LedgerEntry.rates.is_not(None)
    more: Mapping[str, ColumnElement[Any]] = {
        "requests": case((is_end, 1), else_=0),
        "total": LedgerEntry.total.expression,
        "charge": -LedgerEntry.amount,
        "overrun": LedgerEntry.overrun.expression,
        "overruns": case(
            (is_end, as_type(LedgerEntry.overrun > 0, Integer)),
            (LedgerEntry.overrun == 0, 0),
            else_=_overruns_by_correction(),
        ),
        "estimated": case(
            (is_end, as_type(LedgerEntry.estimated, Integer)),
            (is_rerate, 0),
            else_=_estimated_by_correction(),
        ),
    }
    return [as_type(more[name], BigInteger).label(name) for name in SUM_NAMES]


def _overruns_by_correction() -> ColumnElement[int]:
    end = aliased(LedgerEntry, name="ended")
    before, after = end.overrun > 0, end.overrun + LedgerEntry.overrun > 0
    return _of_end(end, as_type(after, Integer) - as_type(before, Integer))


def _estimated_by_correction() -> ColumnElement[int]:
    end = aliased(LedgerEntry, name="ended")
    return _of_end(end, as_type(LedgerEntry.estimated, Integer) - as_type(end.estimated, Integer))


def _of_end(end: type[LedgerEntry], change: ColumnElement[int]) -> ColumnElement[int]:
    """Build what a correction changes, compared to the end of its request."""
    row = select(change).where(
        end.request_id == LedgerEntry.request_id,
        by_request_only(end.account_id) == LedgerEntry.account_id,
        end.state.is_not(None),
    )
    return func.coalesce(row.correlate(LedgerEntry).scalar_subquery(), 0)


def amounts_of(table: type[UsageSums]) -> list[ColumnElement[int]]:
    """Tell what one row of a table of sums adds to sums of those."""
    return [cast("ColumnElement[int]", getattr(table, name)) for name in SUM_NAMES]


def nothing() -> list[ColumnElement[int]]:
    """Build what a row adds that has the quantity of one kind."""
    return [literal_column("0", BigInteger).label(name) for name in SUM_NAMES]


def summed(amounts: Sequence[ColumnElement[int]]) -> list[ColumnElement[int]]:
    """Sum amounts, under their names."""
    return [
        as_type(func.coalesce(func.sum(amount), 0), BigInteger).label(
            cast("KeyedColumnElement[int]", amount).key
        )
        for amount in amounts
    ]


def read_sums(row: RowMapping) -> Sums:
    """Read the sums of a row, by their names."""
    return Sums(quantities=row["quantities"] or {}, **{name: int(row[name]) for name in SUM_NAMES})


def add_up(sums: Sequence[Sums]) -> Sums:
    """Sum sums."""
    quantities: Counter[str] = Counter()
    for each in sums:
        quantities.update(each.quantities)
    numbers = {name: sum(getattr(each, name) for each in sums) for name in SUM_NAMES}
    return Sums(
        quantities={kind: number for kind, number in quantities.items() if number}, **numbers
    )
