"""A superuser at work on the pages, and what their forms lead to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING, Any

from tests.support.books import placed
from tokenbalance.books.ledger.book import Book

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.support.people import Pages, Somebody
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Usage

MINUS = "\N{MINUS SIGN}"
SECRET = re.compile(r"sk-tb-[\w-]{43}")


@dataclass(frozen=True, slots=True)
class Admin:
    """A superuser at work."""

    somebody: Somebody
    pages: Pages


async def entries_of(pool: Pool, account_id: int) -> list[tuple[Any, ...]]:
    rows = await pool.fetch(
        "SELECT kind, amount, balance_after, actor, note FROM ledger"
        " WHERE account_id = $1 AND balance_after IS NOT NULL ORDER BY id",
        account_id,
    )
    return [tuple(row) for row in rows]


async def charge(pool: Pool, holder: Holder, request_id: str, usage: Usage) -> None:
    """Let a request be charged."""
    book = Book(pool, 60)
    hold = await placed(book, holder, request_id, 100)
    await book.settle(hold, usage)


def hidden(response: httpx2.Response, name: str) -> str:
    """What a form carries without showing it."""
    found = re.search(rf'name="{name}" value="([^"]*)"', response.text)
    assert found is not None
    return found.group(1)


def links_of(response: httpx2.Response, words: str) -> list[str]:
    """Where links with these words lead."""
    return [
        unescape(link)
        for link in re.findall(rf'<a[^>]*href="([^"]*)"[^>]*>{words}<', response.text)
    ]


async def shown(pages: Pages, made: httpx2.Response) -> tuple[httpx2.Response, str]:
    """The page that a form leads to which makes a secret, and the secret."""
    assert made.status_code == 303, made.text
    assert not SECRET.search(made.headers["location"] + made.text)
    page = await pages.see(made.headers["location"])
    assert page.headers["cache-control"] == "no-store"
    (secret,) = set(SECRET.findall(page.text))
    return page, secret
