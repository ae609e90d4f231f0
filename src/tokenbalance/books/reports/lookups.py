"""How rows of the ledger are looked up by the id of their request."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import InstrumentedAttribute


def by_request_only(account_id: InstrumentedAttribute[int]) -> ColumnElement[int]:
    """Write an account's id so that no index serves it, where the id of a request is known.

    While most accounts have few rows, the index of accounts looks as good as that of requests, and
    would read all rows of the busiest account.
    """
    return account_id + 0
