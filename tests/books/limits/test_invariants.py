"""What is wrong with limits is named by the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.support.books import create_holder
from tests.support.broken_books import break_books, without
from tests.support.limits import caller_of, limit_key
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.model import Claim, Purpose

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool, Sessions

LIMIT: Final = "limit {id} of account 1, {name} of key:1: {reserved} are reserved, open holds took"
FORGET: Final = "DELETE FROM open_holds; UPDATE accounts SET held = 0"
FREE_ALL_BUT_HOLDS: Final = "UPDATE limits SET reserved = 0 WHERE unit <> 'holds'"
USE_LESS_THAN_NOTHING: Final = "UPDATE limits SET used = -1 WHERE unit = 'tokens'"
BROKEN: Final = {
    "a hold that was counted twice": (
        "UPDATE limits SET reserved = reserved * 2 WHERE unit = 'credits'",
        [f"{LIMIT.format(id=3, name='credits_per_day', reserved=20)} 10; 0 are used"],
    ),
    "a hold that was given back and is still open": (
        "UPDATE limits SET reserved = 0 WHERE unit = 'tokens'",
        [f"{LIMIT.format(id=2, name='tokens_per_day', reserved=0)} 30; 0 are used"],
    ),
    "a request in progress that is none": (
        f"{FORGET}; {FREE_ALL_BUT_HOLDS}",
        [f"{LIMIT.format(id=1, name='parallel_requests', reserved=1)} 0; 0 are used"],
    ),
    "less than nothing": (
        f"{without('limits', 'nothing_is_negative')}; {USE_LESS_THAN_NOTHING}",
        [f"{LIMIT.format(id=2, name='tokens_per_day', reserved=30)} 30; -1 are used"],
    ),
    "tokens from nowhere": (
        "UPDATE open_holds SET limit_ids = NULL; UPDATE limits SET reserved = 0",
        ["hold a of account 1: took 30 tokens, but from no limit"],
    ),
    "a key whose limits do not limit it": (
        "UPDATE api_keys SET limits_version = 0",
        ["key 1 of account 1: has limits, but its version of limits is 0"],
    ),
    "a key that looks for limits in vain": (
        "UPDATE api_keys SET limits_version = 7 WHERE id = 2",
        ["key 2 of account 2: has no limits, but its version of limits is 7"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_broken_is_named(pool: Pool, sessions: Sessions, name: str) -> None:
    holder = await create_holder(pool, 100)
    _ = await create_holder(pool)
    await limit_key(sessions, holder, tokens_per_day=99, credits_per_day=99, parallel_requests=9)
    caller = await caller_of(pool, holder)
    claim = Claim(10, 10, tokens=30)
    assert await Book(pool).place(caller, Purpose("a", "/x", None), claim) is not None
    assert (await audit(pool)).violations == []
    change, violations = BROKEN[name]
    await break_books(pool, *change.split(";"))
    assert (await audit(pool)).violations == violations
