"""Sign-up: creates a user with a password, for strangers or for a superuser.

Callers decide whether it is allowed. Opens and commits its own transactions; none is open while
the password is hashed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tokenbalance.people.attempts import count_sign_up
from tokenbalance.people.password_rules import DEFAULT_RULES, PasswordRules
from tokenbalance.people.passwords import hash_password
from tokenbalance.people.traces import record_new_user, record_sign_up
from tokenbalance.people.turns import turn
from tokenbalance.people.users import clean_email, clean_name, insert_user

if TYPE_CHECKING:
    from tokenbalance.database.connections import Sessions
    from tokenbalance.model import Actor
    from tokenbalance.people.rows import UserRow


@dataclass(frozen=True, slots=True)
class Wanted:
    """The user to create."""

    email: str
    name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody who signs up, and whose attempts are limited."""

    address: str
    """The client's IP address."""


async def sign_up(
    sessions: Sessions,
    wanted: Wanted,
    by: Actor | Stranger,
    rules: PasswordRules = DEFAULT_RULES,
) -> UserRow:
    """Create a user with an empty account.

    Args:
        sessions: the database.
        wanted: the user to create.
        by: who creates the user, to be recorded: a superuser, or the stranger who becomes one.
        rules: for the password.

    Raises:
        UserError, PasswordError: a field is not acceptable.
        TooSoon: too many users were created from this address.
        Busy: too many sign in or up, in all or at this address.

    """
    # Refused before the work of hashing, and not counted.
    email, name = clean_email(wanted.email), clean_name(wanted.name)
    rules.check(wanted.password, email)
    hashing = partial(hash_password, wanted.password, rules, email)
    if isinstance(by, Stranger):
        # In turn with those who sign in, so that no flood fills the queue of passwords.
        async with turn(by.address):
            async with sessions.begin() as session:
                await count_sign_up(session, by.address)
            password_hash = await hashing()
    else:
        password_hash = await hashing()
    async with sessions.begin() as session:
        user = await insert_user(session, email=email, name=name, password_hash=password_hash)
        if isinstance(by, Stranger):
            record_sign_up(session, user, by.address)
        else:
            record_new_user(session, by, user)
        return user
