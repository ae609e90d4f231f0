"""Users, each with the account that pays for them. Disabled, never deleted.

Works in the caller's transaction and never commits. Knows nothing of HTTP or of how people sign in.

    UserError
    |-- InvalidEmail
    |-- InvalidName
    |-- EmailTaken
    `-- UnknownUser
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from tokenbalance.database.tables import Account, User

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

EMAIL_CHARS_MAX: Final = 254  # RFC 5321, section 4.5.3.1.3, without the angle brackets
NAME_CHARS_MAX: Final = 200


class UserError(Exception):
    """What was asked of a user cannot be done; the message is one line for people."""


class InvalidEmail(UserError):
    """Not an e-mail address that this product takes."""


class InvalidName(UserError):
    """A name with control characters, or a very long one."""


class EmailTaken(UserError):
    """Another user has this e-mail address, perhaps in other case."""


class UnknownUser(UserError):
    """No user has this e-mail address."""


async def create_user(
    session: AsyncSession,
    *,
    email: str,
    name: str = "",
    password_hash: str | None = None,
    is_superuser: bool = False,
) -> User:
    """Create a user and an empty account. Without a password hash the user cannot sign in.

    Raises:
        InvalidEmail, InvalidName: the address or the name is not acceptable.
        EmailTaken: the address is in use; nothing of the caller's transaction is lost.

    """
    user = User(
        email=clean_email(email),
        name=clean_name(name),
        password_hash=password_hash,
        is_superuser=is_superuser,
        is_active=True,
    )
    try:
        # The unique index decides, not a look-up before: two may ask for the same address at once.
        async with session.begin_nested():
            session.add(user)
    except IntegrityError:
        msg = f"a user with the e-mail {user.email} exists already"
        raise EmailTaken(msg) from None
    session.add(Account(user=user, balance=0, held=0, overdraft=0))
    await session.flush()
    return user


async def find_user(session: AsyncSession, email: str) -> User:
    """Find a user, with the account, by e-mail without regard to case.

    Raises:
        UnknownUser: nobody has this address.

    """
    email = email.strip()
    by_email = func.lower(User.email) == func.lower(email)
    # Text that Postgres cannot hold is nobody's address, and not worth asking for.
    user = await session.scalar(_with_account().where(by_email)) if email.isprintable() else None
    if user is None:
        msg = f"no user has the e-mail {email!a}"
        raise UnknownUser(msg)
    return user


async def list_users(session: AsyncSession) -> Sequence[User]:
    """Every user with the account, in the order of their creation."""
    return (await session.scalars(_with_account().order_by(User.id))).all()


async def set_active(session: AsyncSession, email: str, *, active: bool) -> User:
    """Enable or disable a user; the keys of a disabled one stop working at once.

    Raises:
        UnknownUser: nobody has this address.

    """
    user = await find_user(session, email)
    user.is_active = active
    await session.flush()
    return user


def clean_email(email: str) -> str:
    """The address without surrounding space, otherwise as typed.

    Only what cannot be an address is refused; whether mail arrives there is not asked.

    Raises:
        InvalidEmail: too long, not one `@` between two parts, or spaces or control characters.

    """
    email = email.strip()
    local, _, domain = email.partition("@")
    if len(email) > EMAIL_CHARS_MAX:
        msg = f"an e-mail has at most {EMAIL_CHARS_MAX} characters"
    elif not email.isprintable() or " " in email:
        msg = "an e-mail has no spaces and no control characters"
    elif not local or not domain or "@" in domain:
        msg = "an e-mail has exactly one '@', with something before and after it"
    else:
        return email
    raise InvalidEmail(msg)


def clean_name(name: str) -> str:
    """The name without surrounding space.

    Raises:
        InvalidName: too long, or with control characters.

    """
    name = name.strip()
    if len(name) > NAME_CHARS_MAX or not name.isprintable():
        msg = f"a name has at most {NAME_CHARS_MAX} characters and no control characters"
        raise InvalidName(msg)
    return name


def _with_account() -> Select[User]:
    return select(User).options(joinedload(User.account, innerjoin=True))
