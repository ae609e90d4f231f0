"""Find a request by what people have of it: its id, or the beginning of it. Writes nothing.

Text that is no id never reaches the database.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import select, union

from tokenbalance.books.reports.explanation import UnknownRequest, unknown_request
from tokenbalance.books.reports.lookups import by_request_only
from tokenbalance.database.tables import LedgerEntry, OpenHold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

_ID: Final = re.compile(r"tb_[0-9a-f]{1,32}")
_AFTER_HEX: Final = "g"
"""Sorts after every character of an id."""
_MOMENT_CHARS: Final = len("tb_") + 12
"""Characters of an id that tell when a request arrived, to the millisecond: few begin alike."""
_ENOUGH: Final = 2
"""Requests that are found, at most: it is one, or there are several."""


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
    ids = union(*(rows.subquery().select() for rows in _begin_with(text, account_id)))
    named = await session.scalars(ids.order_by("request_id").limit(_ENOUGH))
    found = cast("Sequence[str]", named.all())
    if not found:
        raise unknown_request(text)
    if len(found) > 1 and found[0] != text:
        msg = f"several requests begin with {text!a}: enter more of the id"
        raise AmbiguousRequestId(msg)
    return found[0]


def _begin_with(text: str, account_id: int | None) -> list[Select[str | None] | Select[str]]:
    """Build the first open and the first ended requests whose ids begin with a text."""
    is_open = select(OpenHold.request_id).where(OpenHold.amount > 0)
    ended = select(LedgerEntry.request_id).where(LedgerEntry.state.is_not(None))
    if account_id is not None:
        is_open = is_open.where(OpenHold.account_id == account_id)
        account = LedgerEntry.account_id.expression
        if len(text) >= _MOMENT_CHARS:
            account = by_request_only(LedgerEntry.account_id)
        ended = ended.where(account == account_id)
    # Ranges, for the indexes.
    return [
        rows.where(request_id >= text, request_id < f"{text}{_AFTER_HEX}")
        .order_by(request_id)
        .limit(_ENOUGH)
        for rows, request_id in (
            (is_open, OpenHold.request_id),
            (ended, LedgerEntry.request_id),
        )
    ]
