"""What is remembered of keys is bounded, follows the charges, and ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tokenbalance.model import Caller, Charge
from tokenbalance.people import callers, remembered
from tokenbalance.people.remembered import RememberedKeys
from tokenbalance.people.secrets import sha256

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool

OVERDRAFT = 20


def caller(number: int, account_id: int = 1, available: int = 100) -> Caller:
    """Who had nothing held when the key was looked up."""
    return Caller(
        user_id=account_id,
        account_id=account_id,
        key_id=number,
        available=available,
        limit=available,
        balance=available - OVERDRAFT,
        secret_sha256=number.to_bytes(32),
    )


def found(keys: RememberedKeys, number: int) -> int | None:
    """What the account of a key is thought to have; None if the key has to be looked up."""
    bearer = keys.find(number.to_bytes(32))
    assert bearer is None or (bearer.caller.key_id == number and bearer.is_remembered)
    return bearer and bearer.available


def test_of_too_many_keys_those_looked_up_longest_ago_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remembered, "KEYS_MAX", 3)
    keys = RememberedKeys()
    for number in (1, 2, 3, 1, 4):
        keys.keep(caller(number, account_id=number))
    assert [found(keys, number) for number in range(1, 5)] == [100, None, 100, 100]
    for number in range(1000):
        keys.keep(caller(number, account_id=number))
    assert (len(keys), len(keys._accounts)) == (3, 3)


def test_keys_of_one_account_share_what_a_charge_has_left() -> None:
    keys = RememberedKeys()
    for number in (1, 2):
        keys.keep(caller(number))
    keys.keep(caller(3, account_id=2))
    keys.note(1, Charge(amount=30, balance=50, held=15))
    keys.note(9, Charge(amount=30, balance=50, held=15))
    assert [found(keys, number) for number in (1, 2, 3)] == [55, 55, 100]
    keys.keep(caller(1, available=70))
    assert found(keys, 2) == 70


def test_a_key_of_an_account_without_a_credit_is_looked_up() -> None:
    keys = RememberedKeys()
    keys.keep(caller(1))
    keys.note(1, Charge(amount=100, balance=-OVERDRAFT, held=0))
    assert found(keys, 1) is None
    keys.keep(caller(1, available=0))
    assert found(keys, 1) is None


def test_an_account_is_forgotten_with_its_last_key() -> None:
    keys = RememberedKeys()
    for number in (1, 2):
        keys.keep(caller(number))
    for number in (1, 1, 2):
        keys.drop(number.to_bytes(32))
    assert (len(keys), len(keys._accounts)) == (0, 0)


def test_a_key_is_looked_up_again_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = RememberedKeys()
    keys.keep(caller(1))
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + remembered.REMEMBERED_S - 1)
    assert found(keys, 1) == 100
    monkeypatch.setattr(time, "monotonic", lambda: now + remembered.REMEMBERED_S + 1)
    assert found(keys, 1) is None


def test_each_look_up_of_a_key_that_was_remembered_notes_its_use() -> None:
    assert callers._LAST_USE_RESOLUTION.total_seconds() < remembered.REMEMBERED_S


def test_nothing_that_is_remembered_shows_the_secret() -> None:
    keys = RememberedKeys()
    keys.keep(caller(1))
    assert repr(caller(1).secret_sha256) not in repr(keys.find((1).to_bytes(32)))


async def test_a_key_that_is_found_no_more_is_forgotten(pool: Pool) -> None:
    holder = await create_holder(pool, 100)
    found = callers.Callers(pool)
    assert (await found.look_up(sha256(holder.secret))).key_id == holder.key_id
    assert len(found.remembered) == 1
    await pool.execute("UPDATE api_keys SET revoked_at = now()")
    with pytest.raises(callers.RefusedKey):
        await found.look_up(sha256(holder.secret))
    assert len(found.remembered) == 0
