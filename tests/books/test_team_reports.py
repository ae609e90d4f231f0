"""Reports on the books of a team: who answers for what, summed or not yet summed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.books import Holder, create_holder, placed
from tests.support.rerates import USED, Asked, card, charged, new_rerate
from tests.support.teams import create_full_team, team_key
from tests.support.usage import Used, request_id_of, summed_by_report, use
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.credits import Cause
from tokenbalance.books.ledger.refunds import refund
from tokenbalance.books.reports import (
    EVER,
    EntryQuery,
    Group,
    RequestQuery,
    UsageQuery,
    all_usage_by,
    entries_page,
    export_entries,
    export_usage,
    find_request,
    overview,
    requests_page,
)
from tokenbalance.books.reports.rollup import RollUp
from tokenbalance.model import CLI, Usage
from tokenbalance.people.teams.members import add_member, remove_member
from tokenbalance.people.teams.teams import create_team

if TYPE_CHECKING:
    from tests.support.teams import Team
    from tokenbalance.database.connections import Pool, Sessions

BY_USER = frozenset({Group.USER})


@dataclass(frozen=True, slots=True)
class Books:
    """A team of which two keys were used, and somebody with an account of their own."""

    team: Team
    of_member: Holder
    of_nobody: Holder
    single: Holder

    @property
    def names(self) -> dict[int | None, str]:
        """By who answers, of whose account: empty for nobody."""
        return {self.of_member.user_id: "Crew", None: "Crew", self.single.user_id: ""}


@pytest.fixture
async def books(pool: Pool, sessions: Sessions) -> Books:
    team = await create_full_team(pool, sessions, 1000)
    user_id = team.member.user_id
    key, service = [await team_key(sessions, team.id, whose) for whose in (user_id, None)]
    return Books(
        team,
        Holder(user_id, team.id, *key),
        Holder(0, team.id, *service),
        await create_holder(pool, 1000),
    )


async def used(pool: Pool, books: Books) -> None:
    """Use each key on three days, of which the last is today."""
    for days in (2, 1, 0):
        at = datetime.now(UTC) - timedelta(days=days, minutes=1)
        await use(pool, books.of_member, Used(tokens=10, at=at))
        await use(pool, books.of_nobody, Used(tokens=7, at=at))
        await use(pool, books.single, Used(tokens=3, at=at))


@pytest.mark.parametrize("summed", [False, True])
async def test_usage_by_user_tells_the_members_of_a_team_apart(
    pool: Pool, sessions: Sessions, books: Books, *, summed: bool
) -> None:
    await used(pool, books)
    if summed:
        await RollUp(sessions).catch_up()
    tokens = {books.of_member.user_id: 30, None: 21, books.single.user_id: 9}
    async with sessions.begin() as session:
        rows = await all_usage_by(session, UsageQuery(groups=BY_USER))
        daily = await all_usage_by(session, UsageQuery(books.team.id, BY_USER | {Group.DAY}))
    assert {row.user_id: row.sums.total for row in rows} == tokens
    assert {row.user_id: row.team for row in rows} == books.names
    assert {row.email == "" for row in rows if row.user_id is None} == {True}
    assert len(daily) == 6
    assert {(row.user_id, row.sums.total) for row in daily} == {
        (books.of_member.user_id, 10),
        (None, 7),
    }
    # Page by page: in order, and none twice or left out.
    for groups in (BY_USER, BY_USER | {Group.DAY, Group.MODEL}, BY_USER | {Group.KEY}):
        paged = await summed_by_report(sessions, UsageQuery(groups=groups), 1)
        assert sum(sums.total for sums in paged.values()) == 60


@pytest.mark.parametrize("summed", [False, True])
async def test_of_some_keys_everything_else_is_left_out(
    pool: Pool, sessions: Sessions, books: Books, *, summed: bool
) -> None:
    await used(pool, books)
    if summed:
        await RollUp(sessions).catch_up()
    team_id, keys = books.team.id, (books.of_member.key_id, books.single.key_id)
    async with sessions.begin() as session:
        query = UsageQuery(team_id, frozenset({Group.KEY}), key_ids=keys)
        (row,) = await all_usage_by(session, query)
        none = await all_usage_by(session, UsageQuery(team_id, BY_USER, key_ids=()))
        listed = await requests_page(session, RequestQuery(team_id, key_ids=keys))
        entries = await entries_page(session, EntryQuery(team_id, key_ids=keys))
    assert (row.key and row.key.id, row.sums.total) == (books.of_member.key_id, 30)
    assert none == []
    assert {row.key.id for row in listed.data} == {books.of_member.key_id}
    assert len(listed.data) == len(entries.data) == 3
    for export in (export_usage, export_entries):
        batches = export(sessions, EVER, team_id, key_ids=keys)
        assert [len(batch) async for batch in batches] == [3]


async def test_rows_of_who_has_left_keep_the_name_and_a_service_key_has_none(
    pool: Pool, sessions: Sessions, books: Books
) -> None:
    holds = [
        await placed(Book(pool), holder, request_id_of(datetime.now(UTC)), 20)
        for holder in (books.of_member, books.of_nobody)
    ]
    async with sessions.begin() as session:
        open_rows = await requests_page(session, RequestQuery(books.team.id, state="open"))
    for hold in holds:
        assert await Book(pool).settle(hold, Usage({"input": 9}, total=9))
    async with sessions.begin() as session:
        for hold in holds:
            _ = await refund(session, hold.request_id, 4, Cause(CLI))
        _ = await remove_member(session, books.team.id, books.of_member.user_id, actor=CLI)
    email = await pool.fetchval("SELECT email FROM users WHERE id = $1", books.of_member.user_id)
    whose = {(books.of_member.user_id, email, "Crew"), (None, "", "Crew")}
    async with sessions.begin() as session:
        ended = await requests_page(session, RequestQuery(books.team.id))
        entries = await entries_page(session, EntryQuery(books.team.id))
        found = await find_request(session, holds[0].request_id, books.team.id)
    for page in (open_rows, ended):
        assert {(row.user_id, row.email, row.team) for row in page.data} == whose
    assert found == holds[0].request_id
    told = [(row.kind, row.email, row.team) for row in entries.data]
    assert told[0] == ("grant", "", "Crew")
    assert sorted(told[1:]) == sorted(
        (kind, name, "Crew") for kind in ("charge", "refund") for name in (email, "")
    )


async def test_the_only_member_of_a_team_who_was_removed_still_has_the_usage(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool)
    async with sessions.begin() as session:
        team = await create_team(session, "Nobody's", None, actor=CLI)
        await add_member(session, team.id, holder.user_id, "member", actor=CLI)
    key_id, secret = await team_key(sessions, team.id, holder.user_id)
    await use(pool, Holder(holder.user_id, team.id, key_id, secret), Used(tokens=5))
    async with sessions.begin() as session:
        await remove_member(session, team.id, holder.user_id, actor=CLI)
        (row,) = await all_usage_by(session, UsageQuery(team.id, BY_USER))
    assert (row.user_id, row.team, row.sums.total) == (holder.user_id, "Nobody's", 5)


async def test_a_team_is_named_among_those_with_the_most_usage(
    pool: Pool, sessions: Sessions, books: Books
) -> None:
    await used(pool, books)
    async with sessions.begin() as session:
        top = (await overview(session, 7)).top_users
    assert [(each.team, each.account_id, each.sums.charge) for each in top] == [
        ("Crew", books.team.id, 51),
        ("", books.single.account_id, 9),
    ]
    assert [(each.user_id, "@" in each.email) for each in top] == [
        (None, False),
        (books.single.user_id, True),
    ]


async def test_a_rerate_names_the_teams_that_pay_more(
    pool: Pool, sessions: Sessions, books: Books
) -> None:
    for holder in (books.of_nobody, books.single):
        _ = await charged(pool, holder, USED, Asked(card()))
    await pool.execute("UPDATE accounts SET balance = 10 WHERE id = $1", books.team.id)
    rerate = new_rerate(sessions, card("2", "2"), post=False)
    _ = await rerate.run()
    named = {payer.account_id: (payer.email, payer.name) for payer in await rerate.top_payers()}
    assert named[books.team.id] == ("", "Crew")
    assert "@" in named[books.single.account_id][1]
    assert [payer.account_id for payer in await rerate.overdrawn()] == [books.team.id]
