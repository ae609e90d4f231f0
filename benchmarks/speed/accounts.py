"""The product's accounts for a run, and the proof afterwards that its books are right.

    users      64 of them, one for each of 64 connections
    many       10,000
    hot        one, whose requests all want the same row
    edge       one that can pay for what a prompt is, but not for as many tokens as it has bytes
    empty      one with nothing
    poor       one with next to nothing
    unknown    a key that nobody has

What is proved is that every invariant holds, that no hold is left open, and that what was charged
is the sum of the responses that the clients received.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg

from benchmarks.speed.programs import NotStarted
from benchmarks.watch import until_no_hold_is_open
from tokenbalance.books.ledger.audit import audit
from tokenbalance.people.secrets import new_secret, prefix, sha256

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

AMPLE: Final = 1_000_000_000_000
AT_THE_EDGE: Final = 300_000
"""Credits: less than a prompt of 400 kB has bytes, more than it has tokens."""
_OPEN_S: Final = 60.0
_KINDS: Final[Mapping[str, tuple[int, int]]] = {
    "users": (64, AMPLE),
    "many": (10_000, AMPLE),
    "hot": (1, AMPLE),
    "edge": (1, AT_THE_EDGE),
    "empty": (1, 0),
    "poor": (1, 68),
}
"""How many accounts, and the balance of each."""

_CREATE: Final = """
-- $1 e-mails, $2 prefixes, $3 hashes of secrets, $4 balance of each
WITH given AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[]) AS g (email, prefix, secret_sha256)
), made AS (
    INSERT INTO users (email) SELECT email FROM given RETURNING id, email
), opened AS (
    INSERT INTO accounts (user_id, balance) SELECT id, $4 FROM made RETURNING id, user_id
), keys AS (
    INSERT INTO api_keys (account_id, prefix, secret_sha256)
    SELECT opened.id, prefix, secret_sha256
      FROM opened JOIN made ON made.id = user_id JOIN given USING (email)
)
INSERT INTO {ledger} (account_id, kind, amount, balance_after, actor)
SELECT id, 'grant', $4, $4, 'benchmarks' FROM opened WHERE $4 > 0
"""
_CHARGED: Final = """
SELECT coalesce(-sum(amount), 0)::bigint FROM ledger WHERE kind = 'charge'
"""
# A build to compare with may be of before the ledger had one row for each request.
_LEDGER: Final = "SELECT coalesce(to_regclass('ledger')::text, 'ledger_entries')"


async def create_accounts(dsn: str, folder: Path) -> dict[str, Path]:
    """Make every account of a run; returns files with their keys, one a line."""
    secrets = {name: [new_secret() for _ in range(number)] for name, (number, _) in _KINDS.items()}
    connection = await asyncpg.connect(dsn, command_timeout=60)
    try:
        ledger: str = await connection.fetchval(_LEDGER)
        create = _CREATE.format(ledger=ledger)
        for name, keys in secrets.items():
            emails = [f"{name}{number}@benchmarks.example" for number in range(len(keys))]
            hashes = [*map(sha256, keys)]
            await connection.execute(create, emails, [*map(prefix, keys)], hashes, _KINDS[name][1])
        await connection.execute(f"VACUUM ANALYZE users, accounts, api_keys, {ledger}")
    finally:
        await connection.close()
    return {
        name: write_keys(folder / name, keys)
        for name, keys in (*secrets.items(), ("unknown", [new_secret()]))
    }


def write_keys(file: Path, keys: list[str]) -> Path:
    """Write keys down as a load reads them."""
    _ = file.write_text("\n".join(keys) + "\n")
    return file


@dataclass(slots=True)
class Proof:
    """What the books have to say when no request is under way."""

    dsn: str
    owed: int = 0
    """Credits for all responses so far."""
    is_known: bool = True
    """Whether the clients saw all that is charged for: what they leave is charged as well."""

    async def breaches(self) -> list[str]:
        """Wait for the last hold to end, then name whatever is wrong."""
        left, _ = await until_no_hold_is_open(self.dsn, _OPEN_S)
        connection = await asyncpg.connect(self.dsn, command_timeout=600)
        try:
            charged: int = await connection.fetchval(_CHARGED)
            report = await audit(connection)
        finally:
            await connection.close()
        found = [*report.violations]
        if left:
            found.append(f"{left} holds are still open")
        if self.is_known and charged != self.owed:
            found.append(f"{charged:,} credits were charged for responses of {self.owed:,}")
        self.owed, self.is_known = charged, True
        return found


@dataclass(slots=True)
class OwnVerdict:
    """The proof of a build that alone knows the schema of its books: its own `ledger verify`."""

    verify: Callable[[], Awaitable[None]]
    owed: int = 0
    is_known: bool = True

    async def breaches(self) -> list[str]:
        """Name what is wrong."""
        try:
            await self.verify()
        except NotStarted as error:
            return [str(error)]
        return []
