"""A month in the books of a small team: users with names, keys, and requests in working hours.

The same people and about the same numbers each time, up to the present day. The books that it
writes are right: an audit proves them.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from tests.support.usage import request_id_of
from tokenbalance.people.secrets import new_secret, prefix, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tokenbalance.database.connections import Pool

    Row = tuple[Any, ...]

DAYS = 30
SEED = 7

_USER = "INSERT INTO users (email, name, created_at) VALUES ($1, $2, $3) RETURNING id"
_ACCOUNT = "INSERT INTO accounts (user_id, created_at) VALUES ($1, $2) RETURNING id"
_KEY = """
INSERT INTO api_keys (account_id, name, prefix, secret_sha256, created_at)
VALUES ($1, $2, $3, $4, $5) RETURNING id
"""
_BALANCE = "UPDATE accounts SET balance = $2 WHERE id = $1"
_LEDGER = (
    "account_id", "kind", "state", "amount", "balance_after", "request_id", "key_id", "hold",
    "total", "quantities", "endpoint", "model", "started_at", "created_at", "actor", "note",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who uses the product on working days."""

    name: str
    email: str
    key: str
    """What the key is called."""
    models: Sequence[str]
    a_day: int
    """Requests on a working day, about."""
    tokens: int
    """Of a prompt, about."""


TEAM = (
    Person("Mira Okafor", "mira@example.com", "codex", ("gpt-6.1-terra", "gpt-6-luna"), 46, 2_500),
    Person("Jonas Lindt", "jonas@example.com", "laptop", ("gpt-6.1-terra",), 31, 1_900),
    Person("Help desk", "helpdesk@example.com", "bot", ("gpt-6-luna",), 110, 550),
    Person("Priya Nair", "priya@example.com", "notebook", ("o4-mini", "gpt-6-luna"), 24, 1_100),
    Person("Search index", "search@example.com", "nightly", ("text-embedding-3-small",), 60, 700),
    Person("Tomás Rey", "tomas@example.com", "thesis", ("gpt-4.1-mini", "o4-mini"), 17, 900),
)
_REASONING = ("gpt-6", "o4")
_FAILED = 0.02
_WEEKEND = 0.15


@dataclass(frozen=True, slots=True)
class _Account:
    account_id: int
    key_id: int
    since: datetime


async def live_through(pool: Pool) -> list[str]:
    """Write the month; returns the secrets of the team's keys, in its order."""
    chance = random.Random(SEED)  # noqa: S311 - the same month each time
    now = datetime.now(UTC)
    since = now - timedelta(days=DAYS)
    secrets = [new_secret() for _ in TEAM]
    ledger: list[Row] = []
    for person, secret in zip(TEAM, secrets, strict=True):
        account = await _open_account(pool, person, secret, since)
        rows, balance = _ledger(account, list(_requests(person, account, chance, now)))
        ledger += rows
        await pool.execute(_BALANCE, account.account_id, balance)
    ledger.sort(key=itemgetter(_LEDGER.index("created_at")))
    async with pool.acquire() as connection:
        await connection.copy_records_to_table("ledger", records=ledger, columns=_LEDGER)
    return secrets


async def _open_account(pool: Pool, person: Person, secret: str, since: datetime) -> _Account:
    user_id = await pool.fetchval(_USER, person.email, person.name, since)
    account_id = await pool.fetchval(_ACCOUNT, user_id, since)
    key_id = await pool.fetchval(
        _KEY, account_id, person.key, prefix(secret), sha256(secret), since
    )
    return _Account(account_id, key_id, since)


@dataclass(frozen=True, slots=True)
class _Request:
    request_id: str
    model: str
    at: datetime
    input: int
    cached: int
    output: int
    reasoning: int

    @property
    def tokens(self) -> int:
        """Zero for a request that failed."""
        return self.input + self.output

    @property
    def endpoint(self) -> str:
        return "/embeddings" if "embedding" in self.model else "/chat/completions"

    @property
    def ended_at(self) -> datetime:
        return self.at + timedelta(seconds=1 + self.output / 90)

    @property
    def quantities(self) -> str:
        kinds = {
            "input": self.input,
            "cached_input": self.cached,
            "output": self.output,
            "reasoning": self.reasoning,
        }
        return json.dumps({kind: number for kind, number in kinds.items() if number})

    def end(self, account: _Account, balance: int) -> Row:
        kind, state = ("charge", "settled") if self.tokens else ("void", "voided")
        return (
            account.account_id, kind, state, -self.tokens, balance if self.tokens else None,
            self.request_id, account.key_id, self.tokens + 4_000, self.tokens,
            self.quantities if self.tokens else None, self.endpoint, self.model, self.at,
            self.ended_at, "proxy", "",
        )  # fmt: skip


def _requests(
    person: Person, account: _Account, chance: random.Random, now: datetime
) -> Iterator[_Request]:
    for day in range(DAYS + 1):
        morning = (account.since + timedelta(days=day)).replace(hour=7, minute=30)
        share = _WEEKEND if morning.weekday() >= 5 else 1.0
        for _ in range(round(person.a_day * share * chance.uniform(0.7, 1.3))):
            at = morning + timedelta(hours=chance.triangular(0, 11, 3))
            if account.since < at < now - timedelta(minutes=2):
                yield _request(person, chance, at)


def _request(person: Person, chance: random.Random, at: datetime) -> _Request:
    model = chance.choice(person.models)
    request_id = request_id_of(at)
    if chance.random() < _FAILED:
        return _Request(request_id, model, at, 0, 0, 0, 0)
    asked = 20 + int(person.tokens * chance.expovariate(1.0))
    cached = asked * 2 // 3 if asked > 1_200 else 0
    if "embedding" in model:
        return _Request(request_id, model, at, asked, 0, 0, 0)
    said = 30 + int(420 * chance.expovariate(1.0))
    thought = said // 2 if model.startswith(_REASONING) else 0
    return _Request(request_id, model, at, asked, cached, said, thought)


def _ledger(account: _Account, requests: Sequence[_Request]) -> tuple[list[Row], int]:
    """Each balance follows from the one before; what the month costs is granted first."""
    ended = sorted(requests, key=lambda each: each.ended_at)
    balance = int(round(1.35 * sum(each.tokens for each in ended), -5)) + 100_000
    nothing = (None,) * 3
    rows: list[Row] = [
        (
            account.account_id, "grant", None, balance, balance, *nothing, 0, *nothing, None,
            account.since, "cli", "monthly allowance",
        )
    ]  # fmt: skip
    for each in ended:
        balance -= each.tokens
        rows.append(each.end(account, balance))
    return rows, balance
