"""Seeded books, and who and what in them is worth looking at."""

from __future__ import annotations

import enum
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, cast

import aiohttp
import asyncpg

from benchmarks.replicas import Replica
from benchmarks.seeding import PASSWORD, SUPERUSER, Seeds, create_superuser, seed
from tokenbalance.database.migrate import migrate_in_thread
from tokenbalance.database.paging import Key, cursor
from tokenbalance.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping
    from pathlib import Path

SMALL: Final = Seeds(users=100, entries=10_000)
LARGE: Final = Seeds()
_TIMEOUT_S: Final = 300.0

_BY_REQUESTS: Final = """
SELECT (array_agg(account_id ORDER BY requests DESC, account_id))[1],
       (array_agg(account_id ORDER BY requests, account_id))[1]
  FROM (SELECT account_id, sum(requests) AS requests FROM usage_days GROUP BY 1) each
"""
# The request is one of the oldest; lists begin in their middle.
_SOMEBODY: Final = """
-- $1 account
SELECT u.id, u.email, first.key_id, first.request_id,
       (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY id)
          FROM ledger WHERE account_id = $1) AS own_entries,
       (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY id)
          FROM ledger WHERE account_id = $1 AND state IS NOT NULL) AS own_requests
  FROM accounts a
  JOIN users u ON u.id = a.user_id
  JOIN ledger first ON first.account_id = a.id
 WHERE a.id = $1 AND first.state = 'settled'
 ORDER BY first.id
 LIMIT 1
"""
_EVERYBODY: Final = """
SELECT (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY id) FROM users) AS users,
       (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY id) FROM accounts) AS accounts,
       (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY id) FROM api_keys) AS keys,
       (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY id) FROM ledger) AS entries,
       (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY id)
          FROM ledger WHERE state IS NOT NULL) AS requests
"""
_PLAIN: Final = frozenset({"id", "email", "key_id", "request_id"})
"""All others are cursors."""
_OF_REQUESTS: Final = frozenset({"requests", "own_requests"})
"""Cursors that tell the part of their list."""


class Who(enum.StrEnum):
    """Who looks."""

    SUPERUSER = "superuser"
    HEAVY = "heavy user"
    LIGHT = "light user"


@dataclass(frozen=True, slots=True)
class Books:
    """Books, and what stands for the names in the paths that are looked at."""

    dsn: str
    account_ids: Mapping[Who, int]
    """The superuser looks at the heavy user's."""
    names: Mapping[Who, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Served:
    """The product on such books, and those who are signed in there."""

    books: Books
    replica: Replica
    session: aiohttp.ClientSession
    tokens: Mapping[Who, str]

    @asynccontextmanager
    async def ask(
        self, who: Who, path: str, document: object = None, accept: str = "*/*"
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Get a path, or post a document to it, as somebody: a page by cookie, else by token.

        Raises:
            RuntimeError: the response is not the expected one.

        """
        token = self.tokens[who]
        shown = {"authorization": f"Bearer {token}"} if path.startswith("/api/") else {}
        headers = shown or {"cookie": f"tokenbalance={token}"}
        async with self.session.request(
            "GET" if document is None else "POST",
            path,
            json=document,
            headers={**headers, "accept": accept},
            allow_redirects=False,
        ) as response:
            if response.status != 200:  # noqa: PLR2004 - the one that shows what was asked for
                msg = f"{path}: {response.status}"
                raise RuntimeError(msg)
            yield response


@contextmanager
def database(folder: Path, dsn: str | None) -> Generator[str]:
    """Give the address of a database; where none is given, of one that is made and ends here."""
    if dsn is not None:
        yield dsn
        return
    with EmbeddedPostgres.start_or_attach(folder, exclusive=True, durable=False) as server:
        yield server.dsn


async def prepare(dsn: str, seeds: Seeds) -> Books:
    """Seed an empty database and return what to look at in it, and a user who may."""
    await migrate_in_thread(dsn)
    connection = await asyncpg.connect(dsn, command_timeout=_TIMEOUT_S)
    try:
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM usage_days)"):
            await seed(dsn, seeds)
        _ = await create_superuser(dsn)
        return await _find(dsn, connection)
    finally:
        await connection.close()


async def _find(dsn: str, connection: asyncpg.Connection[asyncpg.Record]) -> Books:
    heavy, light = _only(await connection.fetch(_BY_REQUESTS))
    today = datetime.now(UTC).date()
    days = {
        "month_ago": str(today - timedelta(days=30)),
        "week_ago": str(today - timedelta(days=7)),
    }
    everybody = _names(_only(await connection.fetch(_EVERYBODY)))
    heavy_names = _names(_only(await connection.fetch(_SOMEBODY, heavy)))
    light_names = _names(_only(await connection.fetch(_SOMEBODY, light)))
    return Books(
        dsn,
        {Who.SUPERUSER: heavy, Who.HEAVY: heavy, Who.LIGHT: light},
        {
            Who.SUPERUSER: {**days, **everybody, **heavy_names},
            Who.HEAVY: {**days, **heavy_names},
            Who.LIGHT: {**days, **light_names},
        },
    )


def _only(rows: list[asyncpg.Record]) -> asyncpg.Record:
    (row,) = rows
    return row


def _names(row: asyncpg.Record) -> dict[str, str]:
    values = cast("dict[str, str | int]", dict(row))
    return {
        name: str(value) if name in _PLAIN else cursor(_place(name, value))
        for name, value in values.items()
    }


def _place(name: str, value: str | int) -> Key:
    return ("ended", value) if name in _OF_REQUESTS else (value,)


@asynccontextmanager
async def serve(books: Books, folder: Path) -> AsyncGenerator[Served]:
    """Start the product on books, and sign everybody in."""
    replica = Replica(folder, {"DATABASE_URL": books.dsn, "OPENAI_API_KEY": "sk-upstream"}, 1)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(replica.stop)
        await replica.start()
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(replica.url, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        )
        emails = {who: names["email"] for who, names in books.names.items()}
        emails[Who.SUPERUSER] = SUPERUSER
        tokens = {who: await _sign_in(session, email) for who, email in emails.items()}
        yield Served(books, replica, session, tokens)


async def _sign_in(session: aiohttp.ClientSession, email: str) -> str:
    credentials = {"email": email, "password": PASSWORD}
    async with session.post("/api/user/auth", json=credentials) as response:
        response.raise_for_status()
        return str((await response.json())["token"])
