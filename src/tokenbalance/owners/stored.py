"""What an account has stored upstream, of all kinds, as pages and the API list it. Writes nothing.

Newest first over all kinds: each kind is read from its own end of the index, as far as a page goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast, get_args

import orjson
from sqlalchemy import BigInteger, any_, column, literal, select, true, tuple_, values
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from tokenbalance.database.paging import NOT_A_CURSOR, InvalidCursor, Page, page_of, read_cursor
from tokenbalance.database.tables import StoredObject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.database.paging import Key

    _Columns: TypeAlias = tuple[
        str, str, str | None, int | None, str | None, datetime, datetime | None
    ]

Kind: TypeAlias = Literal[
    "batch",
    "chat_completion",
    "container",
    "conversation",
    "file",
    "fine_tuning_job",
    "model",
    "response",
    "skill",
    "upload",
    "vector_store",
    "voice",
    "voice_consent",
]
"""Kinds that are listed: those that people make. What is only a part of another one is not."""
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_NAMED_BY: Final = ("filename", "name", "title", "model")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STEP: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class StoredRow:
    """An object that is stored upstream."""

    kind: str
    id: str
    name: str
    """As its maker called it, or the model that made it; empty if neither is known."""
    size: int | None
    """Bytes; None: not known."""
    state: str | None
    """The upstream's status of it, as it was seen last."""
    created_at: datetime
    """When it became the account's."""
    expires_at: datetime | None


async def stored_page(  # noqa: PLR0913, PLR0917 - which objects, and which page of them
    session: AsyncSession,
    account_id: int,
    kind: str | None,
    after: str | None,
    limit: int,
    key_ids: tuple[int, ...] | None = None,
) -> Page[StoredRow]:
    """Return a page of an account's objects, newest first.

    Args:
        session: the caller's.
        account_id: whose.
        kind: one of `KINDS`; None for all of these.
        after: the `next` of the previous page; None for the first page.
        limit: rows at most.
        key_ids: only what requests with these keys made; None: everything.

    Raises:
        InvalidCursor: `after` is not a cursor of this list.

    """
    kinds = values(column("kind", Text), name="kinds").data(
        [(one,) for one in ([kind] if kind is not None else KINDS)]
    )
    of_kind = (
        select(StoredObject)
        .where(
            StoredObject.account_id == account_id,
            StoredObject.kind == kinds.c.kind,
            StoredObject.kind != "item",
            StoredObject.deleted_at.is_(None),
        )
        .order_by(StoredObject.created_at.desc(), StoredObject.object_id.desc())
        .limit(limit + 1)
    )
    if key_ids is not None:
        made_with = any_(literal(list(key_ids), ARRAY(BigInteger)))
        of_kind = of_kind.where(StoredObject.key_id == made_with)
    place = tuple_(StoredObject.created_at, StoredObject.object_id)
    if after is not None:
        moment, last_id = _place_of(read_cursor(after, (int, str)))
        of_kind = of_kind.where(place < tuple_(literal(moment), literal(last_id)))
    newest = of_kind.correlate(kinds).lateral("newest")
    query = (
        select(
            newest.c.kind,
            newest.c.object_id,
            newest.c.snapshot,
            newest.c.bytes,
            newest.c.state,
            newest.c.created_at,
            newest.c.expires_at,
        )
        .select_from(kinds.join(newest, true()))
        .order_by(newest.c.created_at.desc(), newest.c.object_id.desc())
        .limit(limit + 1)
    )
    rows = [
        StoredRow(kind, name, _name_in(snapshot), size, state, created_at, expires_at)
        for kind, name, snapshot, size, state, created_at, expires_at in cast(
            "Sequence[_Columns]", (await session.execute(query)).all()
        )
    ]
    return page_of(rows, limit, lambda row: ((row.created_at - _EPOCH) // _STEP, row.id))


def _place_of(key: Key) -> tuple[datetime, str]:
    """Read the place of a cursor.

    Raises:
        InvalidCursor: it is no moment.

    """
    moment, last_id = cast("tuple[int, str]", key)
    try:
        return _EPOCH + moment * _STEP, last_id
    except OverflowError:
        raise InvalidCursor(NOT_A_CURSOR) from None


def _name_in(snapshot: str | None) -> str:
    """Find what an object is called in its description."""
    if snapshot is None:
        return ""
    try:
        description = cast("object", orjson.loads(snapshot))
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(description, dict):
        return ""
    members = cast("dict[str, object]", description)
    named = (members.get(name) for name in _NAMED_BY)
    return next((name for name in named if isinstance(name, str)), "")
