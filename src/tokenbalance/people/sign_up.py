"""Sign-up: creates a user with a password, for strangers or for a superuser.

Callers decide whether it is allowed. Opens and commits its own transactions; none is open while
the password is hashed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tokenbalance.people.attempts import count_sign_up
from tokenbalance.people.password_rules import DEFAULT_RULES, PasswordRules
from tokenbalance.people.passwords import hash_password
from tokenbalance.people.users import clean_email, clean_name, create_user

if TYPE_CHECKING:
    from tokenbalance.database.connections import Sessions
    from tokenbalance.people.rows import UserRow


@dataclass(frozen=True, slots=True)
class Wanted:
    """The user to create."""

    email: str
    name: str
    password: str = field(repr=False)


async def sign_up(
    sessions: Sessions,
    wanted: Wanted,
    stranger_at: str | None,
    rules: PasswordRules = DEFAULT_RULES,
) -> UserRow:
    """Create a user with an empty account.

    Args:
        sessions: the database.
        wanted: the user to create.
        stranger_at: the IP address of a stranger, for whom attempts are limited; None: a superuser
            creates the user.
        rules: for the password.

    Raises:
        UserError, PasswordError: a field is not acceptable.
        TooSoon: too many users were created from this address.
        Busy: too many passwords are queued for hashing.

    """
    # Refused before the work of hashing, and not counted.
    email, name = clean_email(wanted.email), clean_name(wanted.name)
    rules.check(wanted.password, email)
    if stranger_at is not None:
        async with sessions.begin() as session:
            await count_sign_up(session, stranger_at)
    password_hash = await hash_password(wanted.password, rules, email)
    async with sessions.begin() as session:
        return await create_user(session, email=email, name=name, password_hash=password_hash)
