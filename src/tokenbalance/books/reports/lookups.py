"""How rows of the ledger are looked up by the id of their request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Text, and_, literal_column

from tokenbalance.database.tables import LedgerEntry

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
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


def _constant(kind: str) -> ColumnElement[str]:
    """Write a kind as it is: no index fits a parameter, whose value is not known to every plan."""
    return literal_column(f"'{kind}'", Text)
