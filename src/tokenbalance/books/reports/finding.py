"""Find a request by what people have of it: its id, or the beginning of it. Writes nothing.

Text that is no id never reaches the database.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, select

from tokenbalance.books.reports.explanation import UnknownRequest
from tokenbalance.database.tables import HoldRecord

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncSession

_ID: Final = re.compile(r"tb_[0-9a-f]{1,32}")
_AFTER_HEX: Final = "g"
"""Sorts after every character of an id, in every collation."""


class InvalidRequestId(UnknownRequest):
    """The text is not the beginning of an id."""


class AmbiguousRequestId(UnknownRequest):
    """Several requests begin with this."""


async def find_request(session: AsyncSession, typed: str, account_id: int | None = None) -> str:
    """Find one request.

    Args:
        session: the caller's.
        typed: its id, or enough of its beginning; space around it is ignored.
        account_id: the account that it must belong to; None: any.

    Returns:
        Its whole id.

    Raises:
        InvalidRequestId: no id begins like this.
        AmbiguousRequestId: several do.
        UnknownRequest: none does, or only those of other accounts.

    """
    text = typed.strip()
    if not _ID.fullmatch(text):
        msg = "a request id is tb_ and up to 32 of the characters 0 to 9 and a to f"
        raise InvalidRequestId(msg)
    query = select(HoldRecord.request_id).where(_is_named(text))
    if account_id is not None:
        query = query.where(HoldRecord.account_id == account_id)
    found = (await session.scalars(query.order_by(HoldRecord.request_id).limit(2))).all()
    if not found:
        msg = f"no request has the id {text!a}"
        raise UnknownRequest(msg)
    if len(found) > 1 and found[0] != text:
        msg = f"several requests begin with {text!a}: enter more of the id"
        raise AmbiguousRequestId(msg)
    return found[0]


def _is_named(text: str) -> ColumnElement[bool]:
    """Build the condition that a request is meant by this text; a range, for the index."""
    return and_(HoldRecord.request_id >= text, HoldRecord.request_id < f"{text}{_AFTER_HEX}")
