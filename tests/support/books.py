"""Builders for the books: an account with a key and a balance, and a look at what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from tests.support.request_rows import REQUESTS
from tokenbalance.model import SCOPES, Caller, Claim, Hold, Purpose
from tokenbalance.people.secrets import new_secret, prefix, sha256

if TYPE_CHECKING:
    import asyncpg

    from tokenbalance.books.ledger.book import Book
    from tokenbalance.database.connections import Pool

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody with an account, a key and a balance."""

    user_id: int
    account_id: int
    key_id: int
    secret: str

    @property
    def caller(self) -> Caller:
        """The caller that the key stands for."""
        return Caller(
            self.user_id,
            self.account_id,
            self.key_id,
            available=0,
            scopes=SCOPES,
            secret_sha256=sha256(self.secret),
        )

    @property
    def headers(self) -> dict[str, str]:
        """What the holder's client sends."""
        return {"Authorization": f"Bearer {self.secret}"}


async def create_holder(pool: Pool, balance: int = 0, *, overdraft: int = 0) -> Holder:
    """Create a user with an account, a key, and a granted balance."""
    secret = new_secret()
    user_id = await pool.fetchval(
        "INSERT INTO users (email) VALUES ($1) RETURNING id", f"holder{next(_numbers)}@example.com"
    )
    account_id = await pool.fetchval(
        "INSERT INTO accounts (user_id, balance, overdraft) VALUES ($1, $2, $3) RETURNING id",
        user_id,
        balance,
        overdraft,
    )
    key_id = await pool.fetchval(
        "INSERT INTO api_keys (account_id, prefix, secret_sha256) VALUES ($1, $2, $3) RETURNING id",
        account_id,
        prefix(secret),
        sha256(secret),
    )
    if balance:
        await pool.execute(
            "INSERT INTO ledger (account_id, kind, amount, balance_after, actor)"
            " VALUES ($1, 'grant', $2, $2, 'tests')",
            account_id,
            balance,
        )
    return Holder(user_id, account_id, key_id, secret)


async def place(
    book: Book, holder: Holder, request_id: str, wanted: int, minimum: int = 1
) -> Hold | None:
    """Place a hold as a chat would."""
    purpose = Purpose(request_id, "/chat/completions", "gpt-4o-mini")
    return await book.place(holder.caller, purpose, Claim(wanted, minimum))


async def placed(book: Book, holder: Holder, request_id: str, wanted: int) -> Hold:
    """Place a hold that is known to fit."""
    hold = await place(book, holder, request_id, wanted, wanted)
    assert hold is not None
    return hold


@dataclass(frozen=True, slots=True)
class Account:
    """What an account's row says."""

    balance: int
    held: int


async def account_of(pool: Pool, holder: Holder) -> Account:
    """Read the account."""
    row = await pool.fetchrow("SELECT balance, held FROM accounts WHERE id = $1", holder.account_id)
    assert row is not None
    return Account(row["balance"], row["held"])


async def charges_of(pool: Pool, holder: Holder) -> list[asyncpg.Record]:
    """Read the charges with the usage behind them, oldest first."""
    return await pool.fetch(
        "SELECT e.amount, e.balance_after, e.estimated, r.input, r.output, r.total, r.overrun,"  # noqa: S608 - a constant
        " coalesce((e.quantities->'cached_input')::bigint, 0) AS cached_input,"
        " coalesce((e.quantities->'reasoning')::bigint, 0) AS reasoning,"
        f" e.hold AS held, e.model, e.endpoint FROM ledger e JOIN {REQUESTS} r"
        " USING (account_id, request_id)"
        " WHERE e.account_id = $1 AND e.kind = 'charge' ORDER BY e.id",
        holder.account_id,
    )


async def hold_states(pool: Pool, holder: Holder) -> list[str]:
    """Read the states of the account's holds, oldest first."""
    rows = await pool.fetch(
        f"SELECT state FROM {REQUESTS} r"  # noqa: S608 - a constant
        " WHERE account_id = $1 ORDER BY created_at, request_id",
        holder.account_id,
    )
    return [row["state"] for row in rows]


async def entries_of(pool: Pool, holder: Holder) -> list[tuple[str, int, int]]:
    """Read kind, amount and balance after of the account's entries, oldest first."""
    rows = await pool.fetch(
        "SELECT kind, amount, balance_after FROM ledger"
        " WHERE account_id = $1 AND balance_after IS NOT NULL ORDER BY id",
        holder.account_id,
    )
    return [(row["kind"], row["amount"], row["balance_after"]) for row in rows]


async def end_leases(pool: Pool) -> None:
    """Let every lease have ended a second ago, by the database's clock."""
    await pool.execute("UPDATE open_holds SET lease_until = now() - interval '1 second'")
