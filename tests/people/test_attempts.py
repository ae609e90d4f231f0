from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.people.conftest import PASSWORD
from tokenbalance.database.connections import open_sessions
from tokenbalance.people import attempts, passwords, turns
from tokenbalance.people.attempts import ADDRESS_FREE, PAIR_FREE
from tokenbalance.people.sign_in import (
    API_SIGN_IN,
    Attempt,
    SlowDown,
    WrongCredentials,
    sign_in,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.people.rows import UserRow

    Create = Callable[..., Awaitable[UserRow]]

EMAIL = "ada@example.com"
HERE = "192.0.2.1"
LONG_S = 600
"""Longer than any machine takes for a test."""


@pytest.fixture(autouse=True)
def _nobodys_hash_is_cheap(monkeypatch: pytest.MonkeyPatch, cheap_hash: str) -> None:
    monkeypatch.setattr(passwords, "_NOBODYS_HASH", cheap_hash)


@pytest.fixture
def long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_FIRST_WAIT_S", LONG_S)
    monkeypatch.setattr(attempts, "WAIT_S_MAX", LONG_S)


async def fail(sessions: Sessions, email: str = EMAIL, address: str = HERE) -> int:
    """Try a wrong password; gives 0 when it was looked at, else for how long to wait."""
    with pytest.raises((WrongCredentials, SlowDown)) as refusal:
        await sign_in(sessions, Attempt(email, "wrong", address), API_SIGN_IN)
    return refusal.value.retry_after_s if isinstance(refusal.value, SlowDown) else 0


async def pass_by(pool: Pool, seconds: float) -> None:
    """Let time pass, for what is counted."""
    await pool.execute(
        "UPDATE sign_in_failures SET last_at = last_at - $1 * interval '1 second',"
        " next_at = next_at - $1 * interval '1 second'",
        seconds,
    )


async def end_waits(pool: Pool) -> None:
    """Let all have waited as long as they have to."""
    await pool.execute("UPDATE sign_in_failures SET next_at = now() WHERE next_at > now()")


@pytest.mark.parametrize("email", [EMAIL, "unknown@example.com"])
async def test_after_ten_failures_each_wait_is_twice_as_long(
    sessions: Sessions, pool: Pool, create: Create, cheap_hash: str, email: str
) -> None:
    await create(EMAIL, password_hash=cheap_hash)
    waits: list[int] = []
    for number in range(PAIR_FREE + 7):
        # In any case, and in any form.
        spelling = (email, email.upper(), email.replace("e", "\uff45"))[number % 3]
        assert await fail(sessions, spelling) == 0
        wait_s = await pool.fetchval(
            "SELECT max(extract(epoch FROM next_at - last_at)) FROM sign_in_failures"
        )
        waits.append(round(wait_s))
        await pass_by(pool, waits[-1])

    assert waits == [0] * (PAIR_FREE - 1) + [1, 2, 4, 8, 16, 32, 60, 60]
    assert await fail(sessions, "other@example.com") == 0


@pytest.mark.usefixtures("long_waits")
async def test_who_comes_too_soon_is_told_when_and_is_no_worse_for_it(
    sessions: Sessions, pool: Pool, looks: list[str]
) -> None:
    for _ in range(PAIR_FREE):
        await fail(sessions)
    counts = await pool.fetch("SELECT * FROM sign_in_failures")

    for _ in range(3):
        assert LONG_S - 120 < await fail(sessions) <= LONG_S

    assert await pool.fetch("SELECT * FROM sign_in_failures") == counts
    assert len(looks) == PAIR_FREE


@pytest.mark.usefixtures("long_waits")
async def test_no_spelling_that_finds_the_same_user_counts_anew(
    sessions: Sessions, create: Create, cheap_hash: str
) -> None:
    await create("kim@example.com", password_hash=cheap_hash)
    # One is KELVIN SIGN.
    spellings = ["kim@example.com", "KIM@EXAMPLE.COM", " Kim@example.com ", "\u212aim@example.com"]
    waits = [await fail(sessions, email) for email in spellings * 3]
    assert waits.count(0) == PAIR_FREE


@pytest.mark.usefixtures("long_waits")
async def test_parallel_guesses_get_no_further_than_one_after_the_other(
    sessions: Sessions,
    dsn: str,
    create: Create,
    cheap_hash: str,
    looks: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # None is refused before it is counted.
    monkeypatch.setattr(turns, "_OF_A_NETWORK", 20)
    await create(EMAIL, password_hash=cheap_hash)

    # On two replicas.
    async with open_sessions(dsn) as elsewhere:
        guesses = [fail(replica) for replica in (sessions, elsewhere) for _ in range(10)]
        waits = await asyncio.gather(*guesses)

    assert len(looks) == waits.count(0) == PAIR_FREE


@pytest.mark.usefixtures("long_waits")
async def test_the_right_password_is_not_looked_at_too_soon_either(
    sessions: Sessions, pool: Pool, create: Create, cheap_hash: str, looks: list[str]
) -> None:
    await create(EMAIL, password_hash=cheap_hash)
    right = Attempt(EMAIL, PASSWORD, HERE)
    for _ in range(PAIR_FREE):
        await fail(sessions)
    looks.clear()

    with pytest.raises(SlowDown):
        await sign_in(sessions, right, API_SIGN_IN)
    assert looks == []
    await end_waits(pool)
    await sign_in(sessions, right, API_SIGN_IN)

    # Of both together nothing is left; of the e-mail and of the address, all but this attempt.
    counts = await pool.fetch("SELECT failures FROM sign_in_failures")
    assert [row["failures"] for row in counts] == [PAIR_FREE] * 2
    assert await fail(sessions) == 0


@pytest.mark.usefixtures("long_waits")
async def test_failures_of_one_address_slow_it_for_every_e_mail(
    sessions: Sessions, pool: Pool, create: Create, cheap_hash: str
) -> None:
    await create(EMAIL, password_hash=cheap_hash)
    network = "2001:db8:1:2"
    for number in range(ADDRESS_FREE):
        assert await fail(sessions, f"{number}@example.com", f"{network}::{number:x}") == 0
        # So that nothing is forgotten however long it takes.
        await pool.execute("UPDATE sign_in_failures SET next_at = now() WHERE next_at < now()")

    assert await fail(sessions, EMAIL, f"{network}:ffff::1") > 0
    # What was refused for the address does not count for the e-mail.
    assert await pool.fetchval("SELECT count(*) FROM sign_in_failures") == 2 * ADDRESS_FREE + 1
    assert await fail(sessions, EMAIL, "2001:db8:1:3::1") == 0

    # Whoever is right after that is let in, and makes nobody else wait.
    await end_waits(pool)
    for _ in range(3):
        await sign_in(sessions, Attempt(EMAIL, PASSWORD, f"{network}::1"), API_SIGN_IN)
    assert await fail(sessions, EMAIL, f"{network}::1") == 0
    assert await fail(sessions, EMAIL, f"{network}::1") > 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("", "testclient", True),
        ("x\udc80", "z" * 10**6, True),
    ],
)
def test_an_address_is_what_one_subscriber_has(one: str, other: str, same: bool) -> None:
    assert (attempts._address_subject(one) == attempts._address_subject(other)) is same


async def test_failures_are_forgotten_little_by_little_and_altogether(
    sessions: Sessions, pool: Pool
) -> None:
    for _ in range(PAIR_FREE):
        await fail(sessions)
    await pass_by(pool, 15 * 60 + 1)
    assert await fail(sessions) == 0
    assert await pool.fetchval("SELECT max(failures) FROM sign_in_failures") == 1

    # One a quarter of an hour never adds up, and neither do many people's over a day.
    for _ in range(2 * PAIR_FREE):
        await pass_by(pool, 120)
        assert await fail(sessions) == 0
    assert await pool.fetchval("SELECT max(failures) FROM sign_in_failures") == 1


async def test_nobody_waits_longer_than_a_minute_whatever_the_clock_does(
    sessions: Sessions, pool: Pool
) -> None:
    for _ in range(PAIR_FREE + 6):
        assert await fail(sessions) == 0
        await end_waits(pool)
    await pass_by(pool, -86_400)
    assert await fail(sessions) == 0
    assert 55 < await fail(sessions) <= 60


async def test_what_is_forgotten_is_removed(
    sessions: Sessions, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await fail(sessions, f"{number}@example.com")
    await pass_by(pool, 15 * 60 + 1)
    monkeypatch.setattr(attempts, "_SWEEP_EVERY", 1)
    monkeypatch.setattr(attempts, "_SWEEP_ROWS_MAX", 3)

    await fail(sessions, "new@example.com", "192.0.2.2")
    assert await pool.fetchval("SELECT count(*) FROM sign_in_failures") == 11 + 3 - 3
    for _ in range(3):
        await fail(sessions, "new@example.com", "192.0.2.2")
    assert await pool.fetchval("SELECT count(*) FROM sign_in_failures") == 3


async def test_neither_e_mails_nor_addresses_can_be_read(sessions: Sessions, pool: Pool) -> None:
    await fail(sessions)
    for row in await pool.fetch("SELECT s::text AS line FROM sign_in_failures s"):
        assert EMAIL not in row["line"]
        assert HERE not in row["line"]
