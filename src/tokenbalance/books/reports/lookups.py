"""How rows of the ledger are looked up: by the id of their request, and by their key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Text, and_, any_, case, literal, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import aliased

from tokenbalance.database.tables import LedgerEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, SQLColumnExpression
    from sqlalchemy.orm import InstrumentedAttribute


def by_request_only(account_id: InstrumentedAttribute[int]) -> ColumnElement[int]:
    """Write an account's id so that no index serves it, where the id of a request is known.

    While most accounts have few rows, the index of accounts looks as good as that of requests, and
    would read all rows of the busiest account.
    """
    return account_id + 0


def is_after_an_end(row: type[LedgerEntry] = LedgerEntry) -> ColumnElement[bool]:
    """Write that a row names a request besides its end, in the words of the index of these rows.

    An index of all rows that are no end would look as good while there are few of them.
    """
    return row.kind.in_((_constant("adjustment"), _constant("refund")))


def is_rerate(row: type[LedgerEntry]) -> ColumnElement[bool]:
    """Write that a row is a rerate, likewise."""
    return and_(row.kind == _constant("adjustment"), row.rates.is_not(None))


def key_of(row: type[LedgerEntry]) -> ColumnElement[int | None]:
    """Write the key of a row: its own, or of a refund that of its request; null: no key made it."""
    end = aliased(LedgerEntry, name="request_end")
    of_request = (
        select(end.key_id)
        .where(
            end.request_id == row.request_id,
            by_request_only(end.account_id) == row.account_id,
            end.state.is_not(None),
        )
        .correlate(row)
        .scalar_subquery()
    )
    return case((row.kind == _constant("refund"), of_request), else_=row.key_id)


def is_one_of(
    key_id: SQLColumnExpression[int | None], key_ids: Sequence[int]
) -> ColumnElement[bool]:
    """Write that a key is one of these, as one parameter however many they are."""
    return key_id == any_(literal(list(key_ids), ARRAY(BigInteger)))


def _constant(kind: str) -> ColumnElement[str]:
    """Write a kind as it is: no index fits a parameter, whose value is not known to every plan."""
    return literal_column(f"'{kind}'", Text)
