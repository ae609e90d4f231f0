"""The first superuser, whom a server may create at its start. Never changes a user who exists.

Opens and commits its own transactions; none is open while the password is hashed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import exists, select

from tokenbalance.database.tables import User
from tokenbalance.people.password_rules import DEFAULT_RULES, PasswordRules
from tokenbalance.people.passwords import hash_password
from tokenbalance.people.users import EmailTaken, create_user

if TYPE_CHECKING:
    from tokenbalance.database.connections import Sessions


async def create_first_superuser(
    sessions: Sessions, email: str, password: str, rules: PasswordRules = DEFAULT_RULES
) -> bool:
    """Create a superuser if there is none, active or disabled; returns whether one was created.

    Several servers may do this at once.

    Raises:
        InvalidEmail: the address is not acceptable.
        EmailTaken: a user who is not a superuser has the address.
        PasswordError: the password is not accepted.

    """
    if await _has_superuser(sessions):
        return False
    password_hash = await hash_password(password, rules, email)
    try:
        async with sessions.begin() as session:
            _ = await create_user(
                session, email=email, password_hash=password_hash, is_superuser=True
            )
    except EmailTaken:
        # Another server has been faster.
        if await _has_superuser(sessions):
            return False
        raise
    return True


async def _has_superuser(sessions: Sessions) -> bool:
    async with sessions() as session:
        return bool(await session.scalar(select(exists().where(User.is_superuser))))
