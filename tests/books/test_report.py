from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.books import create_holder, placed
from tests.support.usage import Used, request_id_of, use, void
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.credits import Cause
from tokenbalance.books.ledger.refunds import refund
from tokenbalance.books.reports import (
    ENTRY_COLUMNS,
    EVER,
    OTHERS,
    USAGE_COLUMNS,
    EntryQuery,
    Period,
    RequestQuery,
    UnknownRequest,
    UsageQuery,
    count_usage,
    csv_lines,
    entries_page,
    explain,
    export_entries,
    export_usage,
    json_lines,
    overview,
    requests_page,
    usage_by,
)
from tokenbalance.books.reports import export as exporting
from tokenbalance.books.reports import requests as listing
from tokenbalance.database.paging import InvalidCursor
from tokenbalance.model import Actor, Purpose, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.books import Holder
    from tokenbalance.books.reports import EntryRow, RequestRow
    from tokenbalance.books.reports.export import Batch
    from tokenbalance.database.connections import Pool, Sessions

NOW = datetime.now(UTC)


async def settled(pool: Pool, holder: Holder, tokens: int = 10, held: int = 20) -> str:
    """Let a request be charged as the product does it; gives its id."""
    hold = await placed(Book(pool), holder, request_id_of(datetime.now(UTC)), held)
    assert await Book(pool).settle(hold, Usage({"input": tokens}, total=tokens))
    return hold.request_id


async def all_entries(sessions: Sessions, query: EntryQuery, limit: int) -> list[EntryRow]:
    rows: list[EntryRow] = []
    after: str | None = None
    while True:
        async with sessions.begin() as session:
            page = await entries_page(session, query, after, limit)
        rows += page.data
        if (after := page.next) is None:
            return rows


async def all_requests(sessions: Sessions, query: RequestQuery, limit: int) -> list[RequestRow]:
    rows: list[RequestRow] = []
    after: str | None = None
    while True:
        async with sessions.begin() as session:
            page = await requests_page(session, query, after, limit)
        rows += page.data
        if (after := page.next) is None:
            return rows


async def test_entries_come_in_pages_of_one_account_or_of_all(
    pool: Pool, sessions: Sessions
) -> None:
    one, other = await create_holder(pool, 1000), await create_holder(pool, 500)
    for _ in range(4):
        await settled(pool, one)
        await settled(pool, other)

    own = await all_entries(sessions, EntryQuery(one.account_id), 2)
    newest = await all_entries(sessions, EntryQuery(newest_first=True), 3)

    assert [row.kind for row in own] == ["grant", *["charge"] * 4]
    assert {row.user_id for row in own} == {one.user_id}
    assert own[-1].balance_after == 960
    ids = [row.id for row in newest]
    assert (len(ids), ids) == (10, sorted(ids, reverse=True))
    assert {row.user_id for row in newest} == {one.user_id, other.user_id}
    assert all("@" in row.email for row in newest)


async def test_entries_are_found_by_kind_and_time(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 1000)
    request_id = await settled(pool, holder)
    async with sessions.begin() as session:
        _ = await refund(session, request_id, 3, Cause(Actor("tests")))
    refunds = await all_entries(sessions, EntryQuery(kinds=("refund", "top-up")), 10)
    assert [(row.kind, row.amount) for row in refunds] == [("refund", 3)]
    both = await all_entries(sessions, EntryQuery(kinds=("charge", "refund")), 10)
    assert [row.kind for row in both] == ["charge", "refund"]


async def test_entries_of_a_period_are_those_whatever_their_number(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool)
    began = NOW - timedelta(days=10)
    for number in range(200):
        await pool.execute(
            "INSERT INTO ledger (account_id, kind, amount, balance_after, actor,"
            " created_at) VALUES ($1, 'top-up', 1, $2, 'tests', $3)",
            holder.account_id,
            number + 1,
            began + timedelta(hours=number),
        )
    for since, until in ((None, 30), (30, None), (50, 60), (0, 1), (199, 300), (300, 400)):
        period = Period(
            None if since is None else began + timedelta(hours=since),
            None if until is None else began + timedelta(hours=until),
        )
        found = await all_entries(sessions, EntryQuery(period=period), 70)
        numbers = [row.balance_after - 1 for row in found]
        assert numbers == list(range(200))[since or 0 : 200 if until is None else until]
        exported = [
            int(str(row[5])) - 1
            async for batch in export_entries(sessions, period)
            for row in batch
        ]
        assert exported == numbers


async def test_requests_come_newest_first_with_usage_and_charge(
    pool: Pool, sessions: Sessions
) -> None:
    one, other = await create_holder(pool, 1000), await create_holder(pool, 1000)
    charged = await settled(pool, one, 30, 20)
    voided = await void(pool, one, datetime.now(UTC) + timedelta(seconds=1))
    _ = await settled(pool, other)

    rows = await all_requests(sessions, RequestQuery(one.account_id), 1)
    everybody = await all_requests(sessions, RequestQuery(), 2)

    assert [row.request_id for row in rows] == [voided, charged]
    assert (rows[0].state, rows[0].usage, rows[0].charge) == ("voided", None, None)
    assert rows[1].usage == Usage({"input": 30}, total=30)
    assert (rows[1].hold, rows[1].charge, rows[1].overrun) == (20, 30, 10)
    assert (rows[1].key.id, rows[1].key.kind, rows[1].rates) == (one.key_id, "key", None)
    assert len(everybody) == 3
    assert {row.user_id for row in everybody} == {one.user_id, other.user_id}


async def test_requests_are_filtered(pool: Pool, sessions: Sessions) -> None:
    one, other = await create_holder(pool, 1000), await create_holder(pool, 1000)
    week_ago = NOW - timedelta(days=7)
    old = await use(pool, one, Used(model="a", at=week_ago, estimated=True))
    new = await use(pool, one, Used(model="b"))
    foreign = await use(pool, other, Used(model="b"))
    hold = await placed(Book(pool), other, request_id_of(datetime.now(UTC)), 20)

    async def found(query: RequestQuery) -> set[str]:
        return {row.request_id for row in await all_requests(sessions, query, 2)}

    assert await found(RequestQuery(model="b")) == {new, foreign}
    assert await found(RequestQuery(one.account_id, model="b")) == {new}
    assert await found(RequestQuery(model="\0")) == set()
    assert await found(RequestQuery(key_id=one.key_id)) == {old, new}
    assert await found(RequestQuery(other.account_id, key_id=one.key_id)) == set()
    assert await found(RequestQuery(key_id=10**6)) == set()
    assert await found(RequestQuery(state="open")) == {hold.request_id}
    assert await found(RequestQuery(estimated=True)) == {old}
    assert await found(RequestQuery(period=Period(None, NOW - timedelta(days=1)))) == {old}
    assert old not in await found(RequestQuery(period=Period(NOW - timedelta(days=1))))


async def test_open_requests_come_first_then_ended_ones_as_they_ended(
    pool: Pool, sessions: Sessions
) -> None:
    book, holder = Book(pool), await create_holder(pool, 1000)
    holds = [await placed(book, holder, f"tb_{number}", 20) for number in range(6)]
    for number in (3, 0, 4):
        assert await book.settle(holds[number], Usage({"input": 1}, 1))
    await book.void(holds[1])
    for limit in (1, 2, 3, 10):
        rows = await all_requests(sessions, RequestQuery(holder.account_id), limit)
        ids = [row.request_id for row in rows]
        assert ids == ["tb_5", "tb_2", "tb_1", "tb_4", "tb_0", "tb_3"]
    voided = await all_requests(sessions, RequestQuery(state="voided"), 1)
    assert [row.request_id for row in voided] == ["tb_1"]
    entries = await all_entries(sessions, EntryQuery(holder.account_id), 2)
    assert [row.kind for row in entries] == ["grant", *["charge"] * 3]


async def test_a_request_that_ends_while_pages_are_read_is_not_left_out(
    pool: Pool, sessions: Sessions
) -> None:
    book, holder = Book(pool), await create_holder(pool, 1000)
    holds = [await placed(book, holder, f"tb_{number}", 20) for number in range(3)]
    async with sessions.begin() as session:
        first = await requests_page(session, RequestQuery(), None, 1)
    assert await book.settle(holds[0], Usage({"input": 1}, 1))
    async with sessions.begin() as session:
        others = await requests_page(session, RequestQuery(), first.next, 10)
    states = [(row.request_id, row.state) for row in (*first.data, *others.data)]
    assert states == [("tb_2", "open"), ("tb_1", "open"), ("tb_0", "settled")]


async def test_a_tombstone_is_no_request(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 1000)
    purpose = Purpose("tb_0", "/chat/completions", "gpt-4o-mini")
    await Book(pool).leave_tombstone(holder.caller, purpose)
    assert await all_requests(sessions, RequestQuery(), 10) == []
    async with sessions.begin() as session:
        assert (await overview(session, 1)).open_holds == 0
        with pytest.raises(UnknownRequest):
            await explain(session, "tb_0")
    assert await all_entries(sessions, EntryQuery(kinds=("charge", "void")), 10) == []


async def test_requests_that_cost_nothing_before_the_ledger_had_them_are_the_last(
    pool: Pool, sessions: Sessions
) -> None:
    """They have negative ids, and are found by state and period like any other."""
    holder = await create_holder(pool)
    began = NOW - timedelta(days=40)
    for day in range(40):
        at = began + timedelta(days=day)
        await pool.execute(
            "INSERT INTO ledger (id, account_id, kind, state, amount, request_id, key_id, hold,"
            " endpoint, started_at, created_at, actor) OVERRIDING SYSTEM VALUE"
            " VALUES ($1, $2, 'void', 'voided', 0, $3, $4, 5, '/chat', $5, $5, 'proxy')",
            day - 40,
            holder.account_id,
            request_id_of(at),
            holder.key_id,
            at,
        )
    charged = await use(pool, holder, Used())
    rows = await all_requests(sessions, RequestQuery(holder.account_id), 7)
    times = [row.created_at for row in rows]
    assert (rows[0].request_id, len(rows), times) == (charged, 41, sorted(times, reverse=True))
    for since, until in ((0, 40), (35, None), (None, 3), (10, 12), (60, None)):
        period = Period(
            None if since is None else began + timedelta(days=since),
            None if until is None else began + timedelta(days=until),
        )
        query = RequestQuery(state="voided", period=period)
        days = [(row.created_at - began).days for row in await all_requests(sessions, query, 7)]
        assert days == list(range(40))[since or 0 : until][::-1]
    assert [row.kind for row in await all_entries(sessions, EntryQuery(), 10)] == ["charge"]


async def test_a_search_for_what_is_rare_goes_on_from_page_to_page(
    pool: Pool, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_LOOKED_AT", 4)
    holder = await create_holder(pool)
    rare = await use(pool, holder, Used(model="rare", at=NOW - timedelta(hours=1)))
    for _ in range(9):
        await use(pool, holder, Used(model="common"))
    async with sessions.begin() as session:
        first = await requests_page(session, RequestQuery(model="rare"), None, 5)
    assert (first.data, first.has_more) == ([], True)
    found = await all_requests(sessions, RequestQuery(model="rare"), 5)
    assert [row.request_id for row in found] == [rare]


async def test_cursors_of_other_lists_are_refused(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        for after in ("", "x", "W10", "WzFd" * 9):
            with pytest.raises(InvalidCursor):
                _ = await requests_page(session, RequestQuery(), after)
            with pytest.raises(InvalidCursor):
                _ = await entries_page(session, EntryQuery(), after)
            with pytest.raises(InvalidCursor):
                _ = await usage_by(session, UsageQuery(groups=frozenset()), "x")


async def test_a_charge_is_explained_to_its_owner_only(pool: Pool, sessions: Sessions) -> None:
    one, other = await create_holder(pool, 1000), await create_holder(pool, 1000)
    request_id = await settled(pool, one, 30, 50)
    async with sessions.begin() as session:
        _ = await refund(session, request_id, 12, Cause(Actor("tests")))
    async with sessions.begin() as session:
        explained = await explain(session, request_id, one.account_id)
        assert await explain(session, request_id) == explained
        for stranger, wanted in ((other.account_id, request_id), (None, "tb_0"), (None, "\0")):
            with pytest.raises(UnknownRequest):
                _ = await explain(session, wanted, stranger)
    assert (explained.request.hold, explained.request.charge) == (50, 30)
    assert [(row.kind, row.amount) for row in explained.entries] == [
        ("charge", -30),
        ("refund", 12),
    ]
    assert explained.cost == 18
    assert explained.bill is not None


async def test_a_voided_and_an_open_request_are_explained_too(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 1000)
    voided = await void(pool, holder, NOW)
    hold = await placed(Book(pool), holder, request_id_of(NOW), 20)
    async with sessions.begin() as session:
        for request_id, state in ((voided, "voided"), (hold.request_id, "open")):
            explained = await explain(session, request_id)
            assert (explained.request.state, explained.bill, explained.cost) == (state, None, 0)


async def test_an_export_has_every_row_once_in_small_batches(
    pool: Pool, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_ROWS", 3)
    one, other = await create_holder(pool), await create_holder(pool)
    same = NOW - timedelta(hours=2)
    ids = [await use(pool, one, Used(at=same)) for _ in range(7)]
    ids += [await use(pool, other, Used(at=NOW - timedelta(days=days))) for days in range(1, 6)]

    batches = [batch async for batch in export_usage(sessions, EVER)]
    recent = [row async for batch in export_usage(sessions, Period(same)) for row in batch]
    own = [row async for batch in export_usage(sessions, EVER, other.account_id) for row in batch]

    assert max(len(batch) for batch in batches) == 3
    assert sorted(str(row[1]) for batch in batches for row in batch) == sorted(ids)
    assert {row[1] for row in recent} == set(ids[:7])
    assert {row[1] for row in own} == set(ids[7:])
    assert all(len(row) == len(USAGE_COLUMNS) for row in own)
    assert await count_usage(sessions, EVER) == 12
    assert await count_usage(sessions, Period(same), one.account_id) == 7


async def test_kinds_that_came_later_are_the_last_columns_of_an_export(
    pool: Pool, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "NEWEST_KINDS", ("a new kind", "another"))
    more = {"another": 4, "tier:priority": 1, "call:web_search": 7}
    await use(pool, await create_holder(pool), Used(tokens=9, more=more))
    ((row,),) = [batch async for batch in export_usage(sessions, EVER)]
    others = USAGE_COLUMNS.index(OTHERS)
    assert row[others:] == ["call:web_search=7 tier:priority=1", 0, 0, 0, "", 0, 4]
    assert row[USAGE_COLUMNS.index("input")] == row[USAGE_COLUMNS.index("total")] == 9


async def one_batch(batch: Batch) -> AsyncGenerator[Batch]:
    yield batch


async def test_text_is_never_a_formula_and_numbers_stay_numbers() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1)))
    names = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", 'a "quoted", name', "two\nlines", "plain"]
    batch = [(number - 4, name, at, True, None) for number, name in enumerate(names)]
    columns = ("n", "name", "at", "estimated", "none")
    file = b"".join([piece async for piece in csv_lines(columns, one_batch(batch))])

    assert file.startswith(b"n,name,at,estimated,none\r\n-4,'=1+1,2026-01-02T03:04:05+01:00,true,")
    rows = list(csv.reader(io.StringIO(file.decode(), newline="")))[1:]
    assert [row[0] for row in rows] == [str(number - 4) for number in range(len(names))]
    assert [row[1] for row in rows] == [*(f"'{name}" for name in names[:6]), *names[6:]]

    lines = b"".join([piece async for piece in json_lines(columns, one_batch(batch))])
    assert [orjson.loads(line)["name"] for line in lines.splitlines()] == names


async def test_a_file_without_rows_has_its_header(sessions: Sessions) -> None:
    batches = export_entries(sessions, EVER)
    pieces = [piece async for piece in csv_lines(ENTRY_COLUMNS, batches)]
    assert b"".join(pieces) == ",".join(ENTRY_COLUMNS).encode() + b"\r\n"
