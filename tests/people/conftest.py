"""People with passwords, and no waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from argon2 import PasswordHasher

from tests.support.actors import NOBODY
from tokenbalance.people import passwords, sign_in
from tokenbalance.people.users import create_user

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokenbalance.database.connections import Sessions
    from tokenbalance.people.passwords import Verdict
    from tokenbalance.people.rows import UserRow

PASSWORD: Final = "correct horse"


@pytest.fixture(autouse=True)
def _responses_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "FAILURE_RESPONSE_AFTER_S", 0.001)


@pytest.fixture
def cheap_hash() -> str:
    """A hash of the password that takes no time, as its parameters are out of date."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stored hashes that passwords were verified against, in order."""
    seen: list[str] = []
    look = passwords._look

    def watched(password: bytes, stored: str) -> Verdict:
        seen.append(stored)
        return look(password, stored)

    monkeypatch.setattr(passwords, "_look", watched)
    return seen


@pytest.fixture
def create(sessions: Sessions) -> Callable[..., Awaitable[UserRow]]:
    """Creates users, committed."""

    async def create(email: str, **fields: str | bool | None) -> UserRow:
        async with sessions.begin() as session:
            return await create_user(session, email=email, actor=NOBODY, **fields)  # pyright: ignore[reportArgumentType] - as given

    return create
