"""A request is found by its id or enough of its beginning, in the account that may see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from tests.support.books import create_holder, placed
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.reports import (
    AmbiguousRequestId,
    InvalidRequestId,
    UnknownRequest,
    find_request,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions

FIRST = "tb_019ab3f0c2d1" + "0" * 20
SECOND = "tb_019ab3f0c2d1" + "0" * 19 + "f"
OTHERS = "tb_019ab3f0c2df" + "a" * 20


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    """Two requests of theirs, and one of somebody else."""
    book, holder = Book(pool), await create_holder(pool, 100)
    for request_id in (FIRST, SECOND):
        _ = await placed(book, holder, request_id, 1)
    _ = await placed(book, await create_holder(pool, 100), OTHERS, 1)
    return holder


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (FIRST, FIRST),
        (f"  {SECOND}\n", SECOND),
        (OTHERS, OTHERS),
        (OTHERS[:15], OTHERS),
        (SECOND[:-1] + "f", SECOND),
    ],
)
@pytest.mark.usefixtures("holder")
async def test_an_id_or_the_beginning_of_only_one_is_found(
    sessions: Sessions, typed: str, found: str
) -> None:
    async with sessions() as session:
        assert await find_request(session, typed) == found


@pytest.mark.usefixtures("holder")
async def test_a_whole_id_that_others_begin_with_is_that_request(
    pool: Pool, sessions: Sessions
) -> None:
    _ = await placed(Book(pool), await create_holder(pool, 1), FIRST[:-1], 1)
    async with sessions() as session:
        assert await find_request(session, FIRST[:-1]) == FIRST[:-1]


async def test_the_beginning_of_several_or_none_is_told(sessions: Sessions, holder: Holder) -> None:
    async with sessions() as session:
        with pytest.raises(AmbiguousRequestId, match="enter more of the id"):
            _ = await find_request(session, FIRST[:-1])
        with pytest.raises(UnknownRequest, match="no request has the id 'tb_f'"):
            _ = await find_request(session, "tb_f")
        # Among the holder's own, the beginning that others share is not ambiguous, nor known.
        with pytest.raises(UnknownRequest, match="no request has the id"):
            _ = await find_request(session, OTHERS, holder.account_id)
        with pytest.raises(AmbiguousRequestId):
            _ = await find_request(session, "tb_0", holder.account_id)
        assert await find_request(session, SECOND, holder.account_id) == SECOND


@pytest.mark.parametrize(
    "typed",
    [
        *("", " ", "tb_", "tb", "x", "019ab3f0", "TB_019A", "tb_g", "tb_01 02", "tb_0%", "tb_0_"),
        *("tb_0\0", "tb_0\n1", "tb_0'", "tb_٣", "\udc80", "tb_" + "0" * 33, "tb_" + "0" * 10**6),
    ],
)
async def test_text_that_is_no_id_never_reaches_the_database(typed: str) -> None:
    no_database = cast("AsyncSession", object())
    with pytest.raises(InvalidRequestId, match="a request id is tb_ and"):
        _ = await find_request(no_database, typed)
