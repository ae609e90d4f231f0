"""Sums of usage: tokens by kind and in total, credits, and numbers of requests."""

# Columns are picked by name; the classes that rows become have the types.
# pyright: reportAny=false, reportExplicitAny=false

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import BigInteger, ColumnElement, Integer, func, literal_column
from sqlalchemy import cast as as_type

from tokenbalance.database.tables import HoldRecord, UsageRecord, UsageSums

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.sql.elements import KeyedColumnElement


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Sums over requests that were charged."""

    requests: int = 0
    input: int = 0
    cached_input: int = 0
    output: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0
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


SUM_NAMES: Final = tuple(field.name for field in fields(Sums))
"""The names of the sums; the same in the tables."""
MODEL: Final[ColumnElement[str]] = func.coalesce(HoldRecord.model, literal_column("''")).label(
    "model"
)
"""The model of a request, as the tables of sums have it."""
HOLD_OF_USAGE: Final = (HoldRecord.account_id == UsageRecord.account_id) & (
    HoldRecord.request_id == UsageRecord.request_id
)


def amounts_of_usage() -> list[ColumnElement[int]]:
    """Build what one record of usage adds to the sums, in their order."""
    of_requests: Mapping[str, ColumnElement[int]] = {
        "requests": literal_column("1", BigInteger),
        "overruns": as_type(UsageRecord.overrun > 0, Integer),
        "estimated": as_type(UsageRecord.estimated, Integer),
    }
    return [
        as_type(of_requests.get(name, getattr(UsageRecord, name, None)), BigInteger).label(name)
        for name in SUM_NAMES
    ]


def amounts_of(table: type[UsageSums]) -> list[ColumnElement[int]]:
    """Tell what one row of a table of sums adds to sums of those."""
    return [cast("ColumnElement[int]", getattr(table, name)) for name in SUM_NAMES]


def summed(amounts: Sequence[ColumnElement[int]]) -> list[ColumnElement[int]]:
    """Sum amounts, under their names."""
    return [
        as_type(func.coalesce(func.sum(amount), 0), BigInteger).label(
            cast("KeyedColumnElement[int]", amount).key
        )
        for amount in amounts
    ]


def read_sums(values: Sequence[int]) -> Sums:
    """Read the values that a row has in the order of `SUM_NAMES`."""
    return Sums(**dict(zip(SUM_NAMES, values, strict=True)))


def add_up(sums: Sequence[Sums]) -> Sums:
    """Sum sums."""
    return read_sums([sum(getattr(each, name) for each in sums) for name in SUM_NAMES])
