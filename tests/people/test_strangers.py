"""Whoever knows the password is kept out by strangers for a minute at most."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.people.conftest import PASSWORD
from tokenbalance.people import attempts, passwords
from tokenbalance.people.attempts import (
    ADDRESS_FREE,
    BROWSER_FREE,
    EMAIL_FREE,
    PAIR_FREE,
    WAIT_S_MAX,
    forget_failures,
)
from tokenbalance.people.sign_in import (
    API_SIGN_IN,
    BROWSER_SIGN_IN,
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
HOME = "192.0.2.1"
ADA = Attempt(EMAIL, PASSWORD, HOME)
EVERYWHERE = "SELECT failures FROM sign_in_failures WHERE subject_sha256 = email_sha256"


@pytest.fixture(autouse=True)
def _nobodys_hash_is_cheap(monkeypatch: pytest.MonkeyPatch, cheap_hash: str) -> None:
    monkeypatch.setattr(passwords, "_NOBODYS_HASH", cheap_hash)


async def wait_of(sessions: Sessions, attempt: Attempt) -> int:
    """Try to sign in; returns 0 if the password was verified, else for how long to wait in s."""
    try:
        await sign_in(sessions, attempt, API_SIGN_IN)
    except WrongCredentials:
        return 0
    except SlowDown as slow:
        return slow.retry_after_s
    return 0


def guess_from(number: int) -> Attempt:
    """Guess a password at one of a stranger's addresses."""
    return Attempt(EMAIL, "a guess", f"198.51.{number // 250}.{number % 250}")


async def pass_by(pool: Pool, seconds: float) -> None:
    """Let time pass, for what is counted."""
    await pool.execute(
        "UPDATE sign_in_failures SET last_at = last_at - $1 * interval '1 second',"
        " next_at = next_at - $1 * interval '1 second'",
        seconds,
    )


async def under_attack(sessions: Sessions, pool: Pool) -> None:
    """Let there have been as many failures as are counted, at other addresses."""
    await wait_of(sessions, guess_from(0))
    await pool.execute(
        "UPDATE sign_in_failures SET failures = $1, next_at = now() + interval '1 hour'"
        " WHERE subject_sha256 = email_sha256",
        EMAIL_FREE + 7,
    )


async def test_an_e_mail_s_failures_elsewhere_do_not_slow_an_address_down(
    sessions: Sessions, create: Create, cheap_hash: str
) -> None:
    await create(EMAIL, password_hash=cheap_hash)
    for number in range(3 * PAIR_FREE):
        assert await wait_of(sessions, guess_from(number)) == 0
    await sign_in(sessions, ADA, API_SIGN_IN)


async def test_after_too_many_failures_from_everywhere_every_address_has_to_rest(
    sessions: Sessions,
    pool: Pool,
    create: Create,
    cheap_hash: str,
    looks: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = 30
    monkeypatch.setattr(attempts, "EMAIL_FREE", free)
    await create(EMAIL, password_hash=cheap_hash)
    for number in range(free):
        assert await wait_of(sessions, guess_from(number % 10)) == 0
        # However long it takes, none is forgotten.
        await pool.execute("UPDATE sign_in_failures SET next_at = now() WHERE next_at < now()")
    waits: list[int] = []
    for number in range(8):
        assert await wait_of(sessions, guess_from(1000 + number)) > 0
        waits.append(await wait_of(sessions, guess_from(1000 + number)))
        await pass_by(pool, waits[-1])
        await pool.execute(
            "UPDATE sign_in_failures SET next_at = now() WHERE subject_sha256 = email_sha256"
        )
        assert await wait_of(sessions, guess_from(1000 + number)) == 0
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert len(looks) == free + 8
    # An address that had failures of its own has rested since then.
    assert await wait_of(sessions, guess_from(1)) == 0
    assert await wait_of(sessions, guess_from(1)) > 50


async def test_strangers_who_never_stop_keep_nobody_out_for_more_than_a_minute(
    sessions: Sessions, pool: Pool, create: Create, cheap_hash: str
) -> None:
    await create(EMAIL, password_hash=cheap_hash)
    await under_attack(sessions, pool)
    waited_s, number = 0, 0
    while wait_s := await wait_of(sessions, ADA):
        # Each second strangers ask at once, before the user does, at new addresses and at old ones.
        step_s = min(wait_s, 5)
        await pass_by(pool, step_s)
        waited_s += step_s
        for _ in range(6):
            number += 1
            await wait_of(sessions, guess_from(number))
            await wait_of(sessions, guess_from(number // 3))
        # The user does not wait patiently, either.
        assert waited_s <= WAIT_S_MAX
        await pool.execute(
            "UPDATE sign_in_failures SET failures = $1 WHERE subject_sha256 = email_sha256",
            EMAIL_FREE + 7,
        )
    assert 50 < waited_s <= WAIT_S_MAX


async def test_a_browser_that_is_known_waits_for_no_stranger(
    sessions: Sessions, pool: Pool, create: Create, cheap_hash: str, looks: list[str]
) -> None:
    await create(EMAIL, password_hash=cheap_hash)
    browser = (await sign_in(sessions, ADA, BROWSER_SIGN_IN)).browser
    await under_attack(sessions, pool)
    # Strangers who share the address, too.
    for number in range(PAIR_FREE):
        await wait_of(sessions, replace(ADA, password=f"guess {number}"))
    await pool.execute("UPDATE sign_in_failures SET next_at = now() + interval '1 minute'")
    counts = await pool.fetch("SELECT * FROM sign_in_failures")
    assert await wait_of(sessions, ADA) > 0
    looks.clear()

    again = await sign_in(sessions, replace(ADA, browser=browser), BROWSER_SIGN_IN)

    assert again.browser not in {None, browser}
    assert await pool.fetch("SELECT * FROM sign_in_failures") == counts
    # It is a new secret every time: who copied the old one is a stranger.
    assert await wait_of(sessions, replace(ADA, browser=browser)) > 0
    assert await wait_of(sessions, replace(ADA, email="eve@example.com", browser=again.browser)) > 0
    assert len(looks) == 1


async def test_a_stolen_browser_has_few_guesses_and_slows_nobody_else(
    sessions: Sessions, create: Create, cheap_hash: str, looks: list[str]
) -> None:
    await create(EMAIL, password_hash=cheap_hash)
    browser = (await sign_in(sessions, ADA, BROWSER_SIGN_IN)).browser
    stolen = Attempt(EMAIL, "a guess", "198.51.100.1", browser=browser)
    looks.clear()
    for number in range(BROWSER_FREE):
        moving = replace(stolen, address=f"198.51.100.{number}")
        assert await wait_of(sessions, moving) == 0
    assert await wait_of(sessions, stolen) > 0
    assert len(looks) == BROWSER_FREE
    assert await wait_of(sessions, replace(stolen, browser=None)) == 0
    await sign_in(sessions, ADA, API_SIGN_IN)


async def test_an_operator_ends_every_wait_of_an_e_mail(
    sessions: Sessions, pool: Pool, create: Create, cheap_hash: str
) -> None:
    await create(EMAIL, password_hash=cheap_hash)
    browser = (await sign_in(sessions, ADA, BROWSER_SIGN_IN)).browser
    for number in range(5):
        await wait_of(sessions, guess_from(number % 2))
    await wait_of(sessions, replace(ADA, password="wrong", browser=browser))
    other = replace(ADA, email="bob@example.com", password="wrong")
    await wait_of(sessions, other)
    await pool.execute("UPDATE sign_in_failures SET next_at = now() + interval '1 minute'")

    async with sessions.begin() as session:
        assert await forget_failures(session, EMAIL.upper()) == 6

    left = await pool.fetch("SELECT * FROM sign_in_failures")
    # Of the other e-mail two, and of three addresses.
    assert len(left) == 2 + 3
    assert await wait_of(sessions, replace(ADA, address="203.0.113.9")) == 0
    assert await wait_of(sessions, replace(ADA, browser=browser)) == 0
    assert await wait_of(sessions, other) > 0


async def test_many_at_once_deadlock_with_nobody(
    sessions: Sessions, create: Create, cheap_hash: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "_SWEEP_EVERY", 1)
    await create(EMAIL, password_hash=cheap_hash)

    async def unlock() -> None:
        async with sessions.begin() as session:
            await forget_failures(session, EMAIL)

    await asyncio.gather(
        *(wait_of(sessions, guess_from(number % 3)) for number in range(20)),
        *(wait_of(sessions, replace(ADA, address=guess_from(n).address)) for n in range(3)),
        *(unlock() for _ in range(5)),
    )


def test_one_address_is_not_enough_to_slow_an_e_mail_everywhere() -> None:
    assert PAIR_FREE < ADDRESS_FREE < EMAIL_FREE
