"""The alerts of an account, or the operator's, as they are listed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from sqlalchemy import select

from tokenbalance.database.paging import Page, page_of, read_cursor
from tokenbalance.database.tables import Alert

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class AlertRow:
    """Something that was told."""

    id: int
    event: str
    data: Mapping[str, object]
    created_at: datetime


async def alerts_page(
    session: AsyncSession, account_id: int | None, after: str | None, limit: int
) -> Page[AlertRow]:
    """Return a page of the alerts of an account, newest first; None: those of the operator.

    Raises:
        InvalidCursor: `after` is not a cursor of this list.

    """
    query = select(Alert).where(Alert.account_id.is_not_distinct_from(account_id))
    if after is not None:
        query = query.where(Alert.id < cast("int", read_cursor(after, (int,))[0]))
    found = await session.scalars(query.order_by(Alert.id.desc()).limit(limit + 1))
    rows = [AlertRow(row.id, row.event, row.data, row.created_at) for row in found]
    return page_of(rows, limit, lambda row: (row.id,))
