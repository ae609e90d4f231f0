"""Creating a user with a password: by strangers, where that is allowed, and by superusers.

Whether it is allowed is not decided here. Transactions are made and ended here, and none is open
while the password is hashed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tokenbalance.people.attempts import count_sign_up
from tokenbalance.people.passwords import hash_password
from tokenbalance.people.users import clean_email, clean_name, create_user

if TYPE_CHECKING:
    from tokenbalance.database.connections import Sessions
    from tokenbalance.database.tables import User


@dataclass(frozen=True, slots=True)
class Wanted:
    """Who somebody wants to be."""

    email: str
    name: str
    password: str = field(repr=False)


async def sign_up(sessions: Sessions, wanted: Wanted, stranger_at: str | None) -> User:
    """Create a user with an empty account.

    Args:
        sessions: the books.
        wanted: who it is to be.
        stranger_at: the address of a stranger, who may not create too many; None: no stranger.

    Raises:
        UserError, PasswordError: it is not acceptable.
        TooSoon: too many were created from this address.
        Busy: too many passwords wait to be hashed.

    """
    # What is refused anyway is refused before the work of hashing, and does not count.
    email, name = clean_email(wanted.email), clean_name(wanted.name)
    if stranger_at is not None:
        async with sessions.begin() as session:
            await count_sign_up(session, stranger_at)
    password_hash = await hash_password(wanted.password)
    async with sessions.begin() as session:
        return await create_user(session, email=email, name=name, password_hash=password_hash)
