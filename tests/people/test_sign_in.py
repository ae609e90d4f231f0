from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.people.conftest import PASSWORD
from tests.people.test_passwords import django_argon2, django_pbkdf2
from tokenbalance.errors import InvalidApiKey
from tokenbalance.model import CLI
from tokenbalance.people import passwords, turns
from tokenbalance.people import sign_in as signing_in
from tokenbalance.people.callers import find_caller
from tokenbalance.people.keys import create_key
from tokenbalance.people.passwords import Busy, Verdict
from tokenbalance.people.sign_in import (
    API_SIGN_IN,
    BROWSER_SIGN_IN,
    Attempt,
    WrongCredentials,
    sign_in,
    sign_out,
)
from tokenbalance.people.users import Changes, Kept, set_active, update_user

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.people.rows import UserRow
    from tokenbalance.people.sign_in import SignInResult

    Create = Callable[..., Awaitable[UserRow]]

ADA = Attempt("ada@example.com", PASSWORD, "192.0.2.1")
TRACES = "SELECT (SELECT count(*) FROM api_keys), (SELECT count(last_sign_in_at) FROM users)"


def attempt(email: str = ADA.email, password: str = PASSWORD) -> Attempt:
    return Attempt(email, password, ADA.address)


async def refused(sessions: Sessions, offered: Attempt) -> str:
    with pytest.raises(WrongCredentials) as refusal:
        await sign_in(sessions, offered, API_SIGN_IN)
    return str(refusal.value)


async def test_who_signs_in_gets_what_works_like_a_key_until_it_expires(
    sessions: Sessions, pool: Pool, create: Create, cheap_hash: str
) -> None:
    user = await create("Ada@example.com", password_hash=cheap_hash, is_superuser=True)
    before = datetime.now(UTC)

    signed_in = await sign_in(sessions, attempt(" aDA@example.com "), BROWSER_SIGN_IN)

    assert (signed_in.user.id, signed_in.user.account.balance) == (user.id, 0)
    lifetime = signed_in.expires_at - before
    assert timedelta(hours=12) <= lifetime < timedelta(hours=12, minutes=5)
    caller = await find_caller(pool, signed_in.secret)
    assert (caller.user_id, caller.is_superuser) == (user.id, True)
    row = await pool.fetchrow("SELECT kind, name, expires_at, limits FROM api_keys")
    assert row is not None
    assert tuple(row) == ("sign-in", "", signed_in.expires_at, "{}")
    assert await pool.fetchval("SELECT last_sign_in_at >= $1 FROM users", before)
    assert signed_in.secret not in repr(signed_in)
    assert PASSWORD not in repr(ADA)
    await pool.execute("UPDATE api_keys SET expires_at = now()")
    with pytest.raises(InvalidApiKey):
        await find_caller(pool, signed_in.secret)


async def test_signing_out_ends_this_token_and_nothing_else(
    sessions: Sessions, pool: Pool, create: Create, cheap_hash: str
) -> None:
    user = await create(ADA.email, password_hash=cheap_hash)
    first = await sign_in(sessions, ADA, API_SIGN_IN)
    second = await sign_in(sessions, ADA, API_SIGN_IN)

    async with sessions.begin() as session:
        _, key_secret = await create_key(session, user.account.id, actor=CLI)
        for secret in (first.secret, key_secret, "tb-unknown", "", "ü\udc80\0"):
            await sign_out(session, secret)

    with pytest.raises(InvalidApiKey):
        await find_caller(pool, first.secret)
    assert await find_caller(pool, second.secret)
    assert await find_caller(pool, key_secret)


async def test_every_failure_is_the_same_in_words_and_work(
    sessions: Sessions, pool: Pool, create: Create, looks: list[str]
) -> None:
    stored = await passwords.hash_password(PASSWORD)
    await create(ADA.email, password_hash=stored)
    await create("off@example.com", password_hash=stored)
    await create("none@example.com")
    await create("django@example.com", password_hash="!unusable")
    async with sessions.begin() as session:
        await set_active(session, "off@example.com", active=False, actor=CLI)
    emails = [ADA.email, "off@example.com", "none@example.com", "django@example.com", "who@x.y", ""]

    responses = [await refused(sessions, attempt(ADA.email, "wrong"))]
    responses += [await refused(sessions, attempt(email)) for email in emails[1:]]

    assert len(set(responses)) == 1
    # One verification of the same cost each; the one of no hash at all is given up at once.
    nobody = passwords._NOBODYS_HASH
    assert looks == [stored, nobody, nobody, "!unusable", nobody, nobody, nobody]
    counts = await pool.fetch("SELECT failures FROM sign_in_failures ORDER BY failures")
    # Each e-mail from here, each from everywhere, and the address.
    assert [row["failures"] for row in counts] == [1] * 2 * len(emails) + [len(emails)]
    assert tuple(await pool.fetchrow(TRACES) or ()) == (0, 0)


async def test_a_failure_is_answered_when_every_failure_is(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def watched(delay: float) -> None:
        # What else runs here sleeps for a second at most.
        waits.extend([delay] if delay > 1 else [])
        await sleep(0)

    monkeypatch.setattr(signing_in, "FAILURE_RESPONSE_AFTER_S", 1000)
    monkeypatch.setattr(asyncio, "sleep", watched)
    # No work at all, and some: counted from the beginning, both are answered at the same time.
    await refused(sessions, attempt(password="x" * 1025))
    await refused(sessions, attempt())

    assert all(900 < wait < 1000 for wait in waits)
    assert len(waits) == 2


@pytest.mark.parametrize(("took_s", "wait_s"), [(0, 0), (0.25, 0.75), (1.25, 0.75), (9.5, 0.5)])
def test_a_failure_that_had_to_wait_for_others_says_no_more_by_its_time(
    monkeypatch: pytest.MonkeyPatch, took_s: float, wait_s: float
) -> None:
    monkeypatch.setattr(signing_in, "FAILURE_RESPONSE_AFTER_S", 1.0)
    assert signing_in._wait_after(took_s) == wait_s


@pytest.mark.parametrize("stored", [django_pbkdf2(PASSWORD), django_argon2(PASSWORD)])
async def test_a_hash_of_django_is_upgraded_at_sign_in(
    sessions: Sessions, pool: Pool, create: Create, looks: list[str], stored: str
) -> None:
    await create(ADA.email, password_hash=stored)

    await refused(sessions, attempt(password="wrong"))
    assert await pool.fetchval("SELECT password_hash FROM users") == stored
    await sign_in(sessions, ADA, API_SIGN_IN)
    upgraded = await pool.fetchval("SELECT password_hash FROM users")
    await sign_in(sessions, ADA, API_SIGN_IN)

    assert upgraded.startswith("$argon2id$")
    assert looks == [stored, stored, upgraded]
    assert await pool.fetchval("SELECT password_hash FROM users") == upgraded


async def test_two_who_sign_in_at_once_are_both_upgraded_and_let_in(
    sessions: Sessions, create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(ADA.email, password_hash=django_pbkdf2(PASSWORD))
    verify = passwords.verify_password
    both_have_looked = asyncio.Barrier(2)

    async def together(password: str, stored: str | None) -> Verdict:
        verdict = await verify(password, stored)
        if stored and stored.startswith("pbkdf2"):
            await both_have_looked.wait()
        return verdict

    monkeypatch.setattr(signing_in, "verify_password", together)

    both = await asyncio.gather(*(sign_in(sessions, ADA, API_SIGN_IN) for _ in range(2)))

    assert both[0].secret != both[1].secret


@pytest.mark.parametrize(
    "changes", [Changes(is_active=False), Changes(password_hash=django_pbkdf2("another"))]
)
async def test_what_changes_while_a_password_is_verified_counts(
    sessions: Sessions,
    pool: Pool,
    create: Create,
    monkeypatch: pytest.MonkeyPatch,
    changes: Changes,
) -> None:
    user = await create(ADA.email, password_hash=django_pbkdf2(PASSWORD))
    verify = passwords.verify_password

    async def change_after(password: str, stored: str | None) -> Verdict:
        verdict = await verify(password, stored)
        async with sessions.begin() as session:
            await update_user(session, user.id, changes, actor=CLI)
        return verdict

    monkeypatch.setattr(signing_in, "verify_password", change_after)

    await refused(sessions, ADA)

    assert tuple(await pool.fetchrow(TRACES) or ()) == (0, 0)


async def test_an_attempt_that_was_not_looked_at_does_not_count(
    sessions: Sessions, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*_: object) -> Verdict:
        raise Busy

    with monkeypatch.context() as patch:
        patch.setattr(signing_in, "verify_password", busy)
        for _ in range(15):
            with pytest.raises(Busy):
                await sign_in(sessions, ADA, API_SIGN_IN)

    assert await pool.fetchval("SELECT max(failures) FROM sign_in_failures") == 0
    await refused(sessions, ADA)


async def test_few_sign_in_at_once_and_few_wait(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_OF_A_NETWORK", 3)
    inside, most, go_on = 0, 0, asyncio.Event()

    async def count(*_: object) -> Verdict:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await go_on.wait()
        inside -= 1
        return Verdict(ok=False)

    monkeypatch.setattr(signing_in, "verify_password", count)
    tasks = [asyncio.create_task(sign_in(sessions, ADA, API_SIGN_IN)) for _ in range(6)]
    # The sixth: two are inside, and three wait.
    with pytest.raises(Busy):
        await tasks[5]
    tasks[2].cancel()
    async with asyncio.timeout(30):
        while inside < 2:
            await asyncio.sleep(0.01)
    go_on.set()
    ended = await asyncio.gather(*tasks[:5], return_exceptions=True)
    assert [type(one) for one in ended].count(WrongCredentials) == 4
    assert most == 2


async def test_no_transaction_is_open_while_a_password_is_verified(
    sessions: Sessions, pool: Pool, create: Create, cheap_hash: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(ADA.email, password_hash=cheap_hash)
    verify = passwords.verify_password
    in_transaction: list[int] = []

    async def look_around(password: str, stored: str | None) -> Verdict:
        in_transaction.append(
            await pool.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND state LIKE '%transaction%'"
            )
        )
        return await verify(password, stored)

    monkeypatch.setattr(signing_in, "verify_password", look_around)
    await sign_in(sessions, ADA, API_SIGN_IN)
    await refused(sessions, attempt(password="wrong"))

    assert in_transaction == [0, 0]


async def test_when_the_database_refuses_nothing_half_done_is_left(
    sessions: Sessions, pool: Pool, create: Create
) -> None:
    stored = django_pbkdf2(PASSWORD)
    await create(ADA.email, password_hash=stored)
    # The last of what signing in writes.
    await pool.execute("ALTER TABLE users ADD CHECK (last_sign_in_at IS NULL)")

    with pytest.raises(Exception, match="violates check constraint"):
        await sign_in(sessions, ADA, API_SIGN_IN)

    assert tuple(await pool.fetchrow(TRACES) or ()) == (0, 0)
    assert await pool.fetchval("SELECT password_hash FROM users") == stored
    assert await pool.fetchval("SELECT sum(failures) FROM sign_in_failures") == 3


@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(email=st.text(st.characters()), password=st.text(st.characters()), address=st.text())
async def test_nothing_is_too_strange_to_be_refused(
    sessions: Sessions,
    pool: Pool,
    cheap_hash: str,
    monkeypatch: pytest.MonkeyPatch,
    email: str,
    password: str,
    address: str,
) -> None:
    monkeypatch.setattr(passwords, "_NOBODYS_HASH", cheap_hash)
    await pool.execute("DELETE FROM sign_in_failures")
    await refused(sessions, Attempt(email, password, address))


async def test_a_megabyte_is_refused_like_anything_else(sessions: Sessions) -> None:
    for email, password in (("x" * 10**6, "y"), ("a@" + "x" * 10**6, "y"), ("a@b.c", "y" * 10**6)):
        await refused(sessions, Attempt(email, password, "z" * 10**6))


async def test_whoever_is_disabled_or_has_a_new_password_signs_in_again(
    sessions: Sessions, pool: Pool, create: Create
) -> None:
    user = await create(ADA.email, password_hash=django_pbkdf2(PASSWORD))
    tokens: list[SignInResult] = [await sign_in(sessions, ADA, API_SIGN_IN) for _ in range(2)]
    kept = (await find_caller(pool, tokens[1].secret)).key_id
    new = Changes(password_hash=django_pbkdf2("another"))

    async with sessions.begin() as session:
        _, key_secret = await create_key(session, user.account.id, actor=CLI)
        await update_user(session, user.id, new, Kept(kept), actor=CLI)

    for secret in (tokens[0].secret, tokens[1].secret):
        find = partial(find_caller, pool, secret)
        if secret == tokens[1].secret:
            assert (await find()).user_id == user.id
        else:
            with pytest.raises(InvalidApiKey):
                await find()
    await refused(sessions, ADA)
    async with sessions.begin() as session:
        await update_user(session, user.id, Changes(is_active=False), actor=CLI)
        await update_user(session, user.id, Changes(is_active=True), actor=CLI)
    # Keys work again; what was given for a password has ended.
    assert await find_caller(pool, key_secret)
    with pytest.raises(InvalidApiKey):
        await find_caller(pool, tokens[1].secret)
