"""`tokenbalance ledger rerate`: what it prints, and two processes of it at once."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.support import locks
from tests.support.books import account_of, create_holder
from tests.support.locks import locked, until_blocked
from tests.support.rerates import MODEL, USED, Asked, card, charged, later_rows, refunded

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Cli, Response
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions

PATIENCE_S = 100.0
"""While two processes start on a busy machine."""
LOCK = "SELECT FROM accounts FOR NO KEY UPDATE"
SINCE = ("--since", "2026-01-01")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A card of twice the price."""
    path = tmp_path / "new prices.toml"
    _ = path.write_text(card("2", "2"))
    return path


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


def write(file: Path, text: str | None) -> None:
    file.unlink()
    if text is not None:
        _ = file.write_text(text)


def digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


async def email_of(pool: Pool, holder: Holder) -> str:
    email: str = await pool.fetchval("SELECT email FROM users WHERE id = $1", holder.user_id)
    return email


async def test_it_posts_the_differences_and_says_what_they_come_to(
    cli: Cli, pool: Pool, holder: Holder, file: Path
) -> None:
    poor = await create_holder(pool, 20)
    holds = [
        await charged(pool, holder),
        await charged(pool, poor, amount=20),
        await charged(pool, holder, asked=Asked(model="unknown")),
    ]
    arguments = ("ledger", "rerate", *SINCE, "--card", str(file))
    tried = cli(*arguments, "--dry-run")
    assert [await later_rows(pool, hold) for hold in holds] == [[], [], []]
    done = cli(*arguments)
    again = cli(*arguments)
    assert (tried.code, done.code, again.code, done.err) == (0, 0, 0, "")

    name, poor_name = await email_of(pool, holder), await email_of(pool, poor)
    assert done.out.splitlines() == [
        "model       requests  before  after  difference",
        f"{MODEL}         2      30     60          30",
        "all                2      30     60          30",
        "",
        "user".ljust(len(name)) + "  requests  before  after  difference  balance after",
        f"{name}         1      15     30          15            955",
        f"{poor_name}         1      15     30          15            -10",
        "",
        "2 entries posted",
        "",
        "Left as they are:",
        "model    requests  credits  reason",
        "unknown         1       15  the card has no rates for it",
        "",
        "Balances below 0:",
        "user".ljust(len(name)) + "  difference  balance after",
        f"{poor_name}          15            -10",
    ]
    assert "2 entries would be posted\n" in tried.out
    assert "These balances would be below 0:\n" in tried.out
    assert "0 entries posted\n" in again.out
    assert [len(await later_rows(pool, hold)) for hold in holds] == [1, 1, 0]
    assert cli("ledger", "verify").code == 0


async def test_json_is_one_object(
    cli: Cli, pool: Pool, sessions: Sessions, holder: Holder, file: Path
) -> None:
    hold = await charged(pool, holder)
    _ = await charged(pool, await create_holder(pool, 50), amount=20)
    await refunded(sessions, hold, 15)
    email = await email_of(pool, holder)
    write(file, card("0.2", "0.2"))
    given = ("--until", "2126-01-01T12:00", "--user", email, "--card", str(file))
    printed = cli.json("ledger", "rerate", *SINCE, *given, "--dry-run")
    sums = {"requests": 1, "before": 15, "after": 15, "difference": 0}
    whose = {"user": email, "team": "", "account_id": holder.account_id}
    account = {**whose, **sums, "balance": 1000}
    assert printed == {
        "dry_run": True,
        "card": {
            "name": "new prices.toml",
            "sha256": digest_of(file),
        },
        "since": "2026-01-01T00:00:00+00:00",
        "until": "2126-01-01T12:00:00+00:00",
        **sums,
        "entries": 0,
        "kept_by_refunds": 1,
        "changed_meanwhile": 0,
        "models": [{"model": MODEL, **sums}],
        "accounts": [account],
        "unpriced": [],
        "overdrawn": [],
    }


async def test_the_note_names_the_card_and_never_its_folder(
    cli: Cli, pool: Pool, holder: Holder, file: Path
) -> None:
    _ = await charged(pool, holder)
    assert cli("ledger", "rerate", *SINCE, "--card", str(file)).code == 0
    note: str = await pool.fetchval("SELECT note FROM ledger WHERE kind = 'adjustment'")
    assert note == f"prices of new prices.toml, sha256 {digest_of(file)[:12]}"
    (event,) = cli.json("events", "list", "--event", "balance.rerated")
    assert (event["actor"], event["details"]["note"]) == ("cli", note)


@pytest.mark.parametrize(
    ("text", "message"),
    [("input = 1", "line 1: "), (None, "cannot be read")],
)
async def test_a_card_that_cannot_be_used_is_wrong_usage(
    cli: Cli, file: Path, text: str | None, message: str
) -> None:
    write(file, text)
    response = cli("ledger", "rerate", *SINCE, "--card", str(file))
    assert (response.code, response.out) == (2, "")
    assert "--card" in response.err
    assert message in response.err


async def test_two_processes_at_once_post_each_difference_once(
    cli: Cli, pool: Pool, holder: Holder, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LIMIT_S", PATIENCE_S)
    holds = [await charged(pool, holder) for _ in range(5)]

    def run() -> Response:
        return cli.program("ledger", "rerate", *SINCE, "--card", str(file))

    async with locked(pool, LOCK):
        runs = [asyncio.create_task(asyncio.to_thread(run)) for _ in range(2)]
        await until_blocked(pool, 2)
    responses = await asyncio.gather(*runs)
    assert [response.code for response in responses] == [0, 0]
    posted = sorted(
        line for each in responses for line in each.out.splitlines() if "posted" in line
    )
    assert posted == ["0 entries posted", "5 entries posted"]
    for hold in holds:
        assert await later_rows(pool, hold) == [("adjustment", -USED.total, True)]
    assert (await account_of(pool, holder)).balance == 1000 - 2 * 5 * USED.total
