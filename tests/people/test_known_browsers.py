"""Which browsers are known, and until when."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.people.conftest import PASSWORD
from tokenbalance.people import known_browsers
from tokenbalance.people.agents import describe_agent
from tokenbalance.people.known_browsers import BROWSERS_MAX, find_browser
from tokenbalance.people.sign_in import (
    API_SIGN_IN,
    BROWSER_SIGN_IN,
    Attempt,
    SlowDown,
    WrongPassword,
    confirm,
    sign_in,
)
from tokenbalance.people.users import Changes, Kept, update_user

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.people.rows import UserRow

    Create = Callable[..., Awaitable[UserRow]]

ADA = Attempt("ada@example.com", PASSWORD, "192.0.2.1")
BOB = replace(ADA, email="bob@example.com")


async def is_known(sessions: Sessions, user: UserRow, secret: str | None) -> bool:
    """Whether a browser with this secret is known."""
    assert secret is not None
    async with sessions() as session:
        return await find_browser(session, user.id, secret) is not None


async def test_a_browser_is_known_for_everyone_who_signs_in_there_by_its_latest_secret(
    sessions: Sessions, pool: Pool, create: Create, cheap_hash: str
) -> None:
    ada = await create(ADA.email, password_hash=cheap_hash)
    bob = await create(BOB.email, password_hash=cheap_hash)
    assert (await sign_in(sessions, ADA, API_SIGN_IN)).browser is None
    secrets = [(await sign_in(sessions, ADA, BROWSER_SIGN_IN)).browser]
    for attempt in (BOB, ADA):
        shown = replace(attempt, browser=secrets[-1])
        secrets.append((await sign_in(sessions, shown, BROWSER_SIGN_IN)).browser)

    assert len(set(secrets)) == 3
    for user in (ada, bob):
        known = [await is_known(sessions, user, secret) for secret in secrets]
        assert known == [False, False, True]
    # One row for each, and no secret among them.
    rows = await pool.fetch("SELECT k::text AS line FROM known_browsers k")
    assert len(rows) == 2
    assert not any(secret in row["line"] for row in rows for secret in secrets if secret)


@pytest.mark.parametrize("planted", ["a secret of somebody else's", "", "ü", "\udc80", "x" * 512])
async def test_what_somebody_else_put_into_a_browser_is_never_known(
    sessions: Sessions, create: Create, cheap_hash: str, planted: str
) -> None:
    await create(ADA.email, password_hash=cheap_hash)
    signed_in = await sign_in(sessions, replace(ADA, browser=planted), BROWSER_SIGN_IN)
    assert signed_in.browser != planted
    assert signed_in.browser
    assert signed_in.browser not in repr(signed_in)


async def test_a_browser_is_forgotten_after_a_while_and_beyond_a_number(
    sessions: Sessions, pool: Pool, create: Create, cheap_hash: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_browsers, "BROWSERS_MAX", 3)
    assert BROWSERS_MAX > 3
    ada = await create(ADA.email, password_hash=cheap_hash)
    secrets = [(await sign_in(sessions, ADA, BROWSER_SIGN_IN)).browser for _ in range(4)]
    known = [await is_known(sessions, ada, secret) for secret in secrets]
    assert known == [False, True, True, True]

    await pool.execute("UPDATE known_browsers SET last_sign_in_at = now() - interval '91 days'")
    assert not await is_known(sessions, ada, secrets[3])
    latest = (await sign_in(sessions, ADA, BROWSER_SIGN_IN)).browser
    assert await is_known(sessions, ada, latest)
    assert await pool.fetchval("SELECT count(*) FROM known_browsers") == 1


async def test_a_new_password_ends_every_browser_but_the_one_where_it_was_changed(
    sessions: Sessions, create: Create, cheap_hash: str
) -> None:
    ada = await create(ADA.email, password_hash=cheap_hash)
    here, there = [(await sign_in(sessions, ADA, BROWSER_SIGN_IN)).browser for _ in range(2)]
    new = Changes(password_hash=cheap_hash)
    async with sessions.begin() as session:
        await update_user(session, ada.id, Changes(name="Ada"))
    assert await is_known(sessions, ada, there)
    async with sessions.begin() as session:
        await update_user(session, ada.id, new, Kept(browser=here))
    assert [await is_known(sessions, ada, one) for one in (here, there)] == [True, False]
    async with sessions.begin() as session:
        await update_user(session, ada.id, new)
    assert not await is_known(sessions, ada, here)


async def test_confirming_a_password_counts_like_signing_in(
    sessions: Sessions, create: Create, cheap_hash: str
) -> None:
    await create(ADA.email, password_hash=cheap_hash)
    await confirm(sessions, ADA)
    for _ in range(10):
        with pytest.raises(WrongPassword):
            await confirm(sessions, replace(ADA, password="wrong"))
    with pytest.raises(SlowDown):
        await confirm(sessions, ADA)


@pytest.mark.parametrize(
    ("user_agent", "described"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "Firefox on Linux",
        ),
        (
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
                " Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0"
            ),
            "Edge on Windows",
        ),
        (
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15"
                " (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1"
            ),
            "Safari on iPhone",
        ),
        (
            (
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko)"
                " Chrome/131.0.0.0 Mobile Safari/537.36"
            ),
            "Chrome on Android",
        ),
        ("Mozilla/5.0", "Browser"),
        ("curl/8.5.0 (x86_64)", "curl/8.5.0"),
        ("x" * 500, "x" * 60),
        ("a\x00b", ""),
        ("", ""),
    ],
)
def test_a_device_is_described_in_a_few_words(user_agent: str, described: str) -> None:
    assert describe_agent(user_agent) == described
