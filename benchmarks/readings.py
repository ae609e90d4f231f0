"""Everything that is read of the books for people, without a server before it, by name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from benchmarks.books import Who
from tokenbalance.books import reports as report
from tokenbalance.books.reports import Group

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from sqlalchemy.ext.asyncio import AsyncSession

    from benchmarks.books import Books
    from benchmarks.timing import Work
    from tokenbalance.database.connections import Sessions

    Reading: TypeAlias = Callable[[AsyncSession], Awaitable[object]]


def readings(books: Books, sessions: Sessions) -> Mapping[str, Work]:
    """Name each reading of some books."""
    found: dict[str, Work] = {"overview": _work(sessions, report.overview)}
    for of, account in (("all", None), ("one", books.account_ids[Who.HEAVY])):
        for name, reading in _of(books.names[Who.HEAVY], account):
            found[f"{name}, {of}"] = _work(sessions, reading)
    return found


def _of(names: Mapping[str, str], account: int | None) -> Iterator[tuple[str, Reading]]:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    month = report.Period(today - timedelta(days=29))
    long_ago = report.Period(today - timedelta(days=60), today - timedelta(days=50))
    key_id, request_id = int(names["key_id"]), names["request_id"]
    for name, entries in {
        "entries": report.EntryQuery(account, newest_first=True),
        "entries, oldest first": report.EntryQuery(account),
        "entries, refunds": report.EntryQuery(account, ("refund",), newest_first=True),
        "entries, long ago": report.EntryQuery(account, period=long_ago, newest_first=True),
    }.items():
        yield name, lambda session, query=entries: report.entries_page(session, query)
    for name, requests in {
        "requests": report.RequestQuery(account),
        "requests, long ago": report.RequestQuery(account, period=long_ago),
        "requests, voided": report.RequestQuery(account, state="voided"),
        "requests, expired": report.RequestQuery(account, state="expired"),
        "requests, open": report.RequestQuery(account, state="open"),
        "requests, of a model": report.RequestQuery(account, model="gpt-4o-audio-preview"),
        "requests, of a key": report.RequestQuery(account, key_id=key_id),
        "requests, estimated": report.RequestQuery(account, estimated=True),
        "requests, overrun": report.RequestQuery(account, overrun=True),
    }.items():
        yield name, lambda session, query=requests: report.requests_page(session, query)
    for groups in ("", "day", "user", "key", "model", "day model", "day user", "user model"):
        usage = report.UsageQuery(account, frozenset(map(Group, groups.split())), month)
        yield (
            f"usage by {groups or 'nothing'}",
            lambda session, query=usage: report.usage_by(session, query),
        )
    yield "explain", lambda session: report.explain(session, request_id, account)


def _work(sessions: Sessions, reading: Reading) -> Work:
    async def read() -> None:
        async with sessions.begin() as session:
            _ = await reading(session)

    return read
