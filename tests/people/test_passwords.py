from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import sys
import threading

import pytest
from argon2 import PasswordHasher, Type
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.people.conftest import PASSWORD
from tokenbalance.people import hashing, passwords
from tokenbalance.people.password_rules import PASSWORD_CHARS_MAX
from tokenbalance.people.passwords import (
    WAITING_MAX,
    Busy,
    Verdict,
    hash_password,
    verify_password,
)

WRONG = Verdict(ok=False)
ANY_TEXT = st.text(st.characters(), max_size=PASSWORD_CHARS_MAX)
"""With NUL and lone surrogates."""


def django_pbkdf2(password: str, rounds: int = 1000) -> str:
    """Make a hash as Django does, without any code of ours."""
    salt = "hW8WmP2b7n"
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), rounds)
    return f"pbkdf2_sha256${rounds}${salt}${base64.b64encode(digest).decode()}"


def django_argon2(password: str) -> str:
    hasher = PasswordHasher(time_cost=2, memory_cost=512, parallelism=8, type=Type.ID)
    return "argon2" + hasher.hash(password)


@pytest.mark.parametrize("stored", [django_pbkdf2(PASSWORD), django_argon2(PASSWORD)])
async def test_django_hashes_are_verified_and_upgraded(stored: str) -> None:
    verdict = await verify_password(PASSWORD, stored)

    assert verdict.ok
    assert verdict.new_hash
    assert verdict.new_hash.startswith("$argon2id$")
    assert await verify_password(PASSWORD, verdict.new_hash) == Verdict(ok=True)
    assert await verify_password("Correct horse", stored) == WRONG


async def test_argon2_of_other_parameters_is_replaced_by_one_lane(cheap_hash: str) -> None:
    # What was made before had four lanes, which took four cores at once.
    four_lanes = PasswordHasher(time_cost=3, memory_cost=65536, parallelism=4).hash(PASSWORD)
    for stored in (cheap_hash, four_lanes):
        verdict = await verify_password(PASSWORD, stored)

        assert verdict.new_hash
        assert "$m=19456,t=2,p=1$" in verdict.new_hash
        assert (await verify_password(PASSWORD, verdict.new_hash)) == Verdict(ok=True)


async def test_passwords_are_hashed_by_one_process_below_everything_else() -> None:
    stored = await asyncio.gather(*(hash_password(PASSWORD) for _ in range(3)))
    assert len(set(stored)) == 3
    (child,) = hashing._children
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == 19
    assert os.getpriority(os.PRIO_PROCESS, 0) < 19


async def test_when_that_process_is_killed_another_goes_on() -> None:
    stored = await hash_password(PASSWORD)
    (child,) = hashing._children
    child.kill()
    child.wait()
    assert await verify_password(PASSWORD, stored) == Verdict(ok=True)
    assert hashing._children != [child]


async def test_where_no_process_can_be_started_passwords_are_hashed_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashing.stop()
    for command in ("/nowhere", "/bin/true"):
        monkeypatch.setattr(sys, "executable", command)
        stored = await hash_password(PASSWORD)
        assert await verify_password(PASSWORD, stored) == Verdict(ok=True)
        assert await verify_password(PASSWORD, "!") == WRONG
        assert hashing._children == []


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "",
        "!",
        "!kBdJ0f5",
        "correct horse",
        "$argon2id$garbage",
        "$argon2id$v=19$m=65536,t=3,p=4$",
        "pbkdf2_sha256$x$y$z",
        "argon2$argon2id$v=19$m=0,t=2,p=8$a$a",
        "scrypt$a",
        "\0\udc80",
    ],
)
async def test_what_no_password_fits_takes_as_much_work(
    stored: str | None, looks: list[str]
) -> None:
    assert await verify_password(PASSWORD, stored) == WRONG
    assert looks[-1] == passwords._NOBODYS_HASH


def test_the_work_is_that_of_a_hash_made_today() -> None:
    made = passwords._hash(PASSWORD.encode())
    parameters = slice(None, 4)
    assert made.split("$")[parameters] == passwords._NOBODYS_HASH.split("$")[parameters]
    assert len(made) == len(passwords._NOBODYS_HASH)


async def test_an_over_long_password_is_wrong_without_any_work(looks: list[str]) -> None:
    assert await verify_password("x" * (PASSWORD_CHARS_MAX + 1), django_pbkdf2("x")) == WRONG
    assert await verify_password("x" * 10**6, None) == WRONG
    assert looks == []
    assert await verify_password("🔑" * PASSWORD_CHARS_MAX, django_pbkdf2("x")) == WRONG
    assert len(looks) == 1


@pytest.mark.parametrize(
    "password", ["a\0bcdefg", "a\0bcdefg\udc80", "\ud83d is alone", "🔑" * 1024]
)
async def test_a_strange_password_is_a_password(password: str) -> None:
    stored = await hash_password(password)

    assert await verify_password(password, stored) == Verdict(ok=True)
    assert await verify_password(password[:-1], stored) == WRONG


@settings(
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(password=ANY_TEXT, stored=ANY_TEXT)
async def test_no_text_is_too_strange_to_be_wrong(
    monkeypatch: pytest.MonkeyPatch, cheap_hash: str, password: str, stored: str
) -> None:
    monkeypatch.setattr(passwords, "_NOBODYS_HASH", cheap_hash)
    assert await verify_password(password, stored) == WRONG
    if password != PASSWORD:
        assert await verify_password(password, cheap_hash) == WRONG


async def test_no_more_wait_than_have_a_place_and_places_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = threading.Event()

    def wait(_password: bytes, _stored: str | None) -> Verdict:
        return Verdict(ok=go_on.wait(60))

    monkeypatch.setattr(passwords, "_verify", wait)
    waiting = [asyncio.create_task(verify_password("x", None)) for _ in range(1 + WAITING_MAX)]
    try:
        await asyncio.sleep(0)  # each has taken its place

        with pytest.raises(Busy):
            await verify_password("x", None)
        with pytest.raises(Busy):
            await hash_password("12345 67890")
        # Whoever goes away makes room, at once where the work has not begun.
        waiting.pop().cancel()
        await asyncio.sleep(0)
        waiting.append(asyncio.create_task(verify_password("x", None)))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await verify_password("x", None)
    finally:
        go_on.set()
    assert await asyncio.gather(*waiting) == [Verdict(ok=True)] * len(waiting)
    assert await verify_password("x", None) == Verdict(ok=True)
