"""Users, each with the account that pays for them. Disabled, never deleted.

Works in the caller's transaction and never commits. Knows nothing of HTTP or of how people sign in.

    UserError
    |-- InvalidEmail
    |-- InvalidName
    |-- EmailTaken
    |-- LastSuperuser
    `-- UnknownUser
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from tokenbalance.database.paging import Page, page_of, read_cursor
from tokenbalance.database.search import has_text
from tokenbalance.database.tables import Account, User
from tokenbalance.people.sign_in_tokens import end_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

EMAIL_CHARS_MAX: Final = 254  # RFC 5321, section 4.5.3.1.3, without the angle brackets
NAME_CHARS_MAX: Final = 200
_BIGINT_END: Final = 2**63


class UserError(Exception):
    """What was asked of a user cannot be done; the message is one line for people."""


class InvalidEmail(UserError):
    """Not an e-mail address that this product takes."""


class InvalidName(UserError):
    """A name with control characters, or a very long one."""


class EmailTaken(UserError):
    """Another user has this e-mail address, perhaps in other case."""


class LastSuperuser(UserError):
    """Without this one nobody could manage others any more."""


class UnknownUser(UserError):
    """No user has this id or e-mail address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is to be different about a user; None leaves it as it is."""

    name: str | None = None
    is_active: bool | None = None
    is_superuser: bool | None = None
    password_hash: str | None = field(default=None, repr=False)

    @property
    def end_sign_ins(self) -> bool:
        """Whether what was given for the old password, or to who is now disabled, ends."""
        return self.is_active is False or self.password_hash is not None

    @property
    def may_leave_no_superuser(self) -> bool:
        """Whether somebody stops being an active superuser, if they were one."""
        return self.is_active is False or self.is_superuser is False


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


async def get_user(session: AsyncSession, user_id: int) -> User:
    """Find a user, with the account, by id.

    Raises:
        UnknownUser: nobody has this id.

    """
    return await _get(session, _with_account(), user_id)


async def list_users(session: AsyncSession) -> Sequence[User]:
    """Every user with the account, in the order of their creation."""
    return (await session.scalars(_with_account().order_by(User.id))).all()


async def users_page(
    session: AsyncSession, search: str, after: str | None, limit: int
) -> Page[User]:
    """A part of what `list_users` gives.

    Args:
        session: the caller's transaction.
        search: a part of the e-mail or the name, without regard to case; empty for everybody.
        after: the `next` of the page before; None for the first page.
        limit: rows at most.

    Raises:
        InvalidCursor: `after` is none of this list.

    """
    query = _with_account().order_by(User.id).limit(limit + 1)
    if after is not None:
        (last_id,) = read_cursor(after, (int,))
        query = query.where(User.id > last_id)
    search = search.strip()
    # Text that Postgres cannot hold, or no column does, is not worth asking for.
    if not search.isprintable() or len(search) > EMAIL_CHARS_MAX:
        return Page([], None)
    if search:
        query = query.where(or_(has_text(User.email, search), has_text(User.name, search)))
    return page_of((await session.scalars(query)).all(), limit, lambda user: (user.id,))


async def update_user(
    session: AsyncSession, user_id: int, changes: Changes, keep_key_id: int | None = None
) -> User:
    """Change a user; disabling one, or a new password, ends their sign-in tokens.

    Requests in progress are settled as ever.

    Args:
        session: the caller's transaction.
        user_id: who.
        changes: what.
        keep_key_id: the sign-in token that asks for it, which does not end.

    Raises:
        UnknownUser: nobody has this id.
        InvalidName: the name is not acceptable.
        LastSuperuser: there would be no active superuser; nothing was changed.

    """
    name = None if changes.name is None else clean_name(changes.name)
    if changes.may_leave_no_superuser:
        await _keep_a_superuser(session, user_id)
    user = await lock_user(session, user_id)
    return await _apply(session, user, replace(changes, name=name), keep_key_id)


async def lock_user(session: AsyncSession, user_id: int) -> User:
    """Find a user, with the account, as of now, and keep other changes waiting until the commit.

    Raises:
        UnknownUser: nobody has this id.

    """
    return await _get(session, _with_account().with_for_update(of=User, key_share=True), user_id)


async def set_active(session: AsyncSession, email: str, *, active: bool) -> User:
    """Enable or disable a user; what a disabled one shows is refused at once.

    Whoever may call this can make a superuser: the last one may be disabled, too.

    Raises:
        UnknownUser: nobody has this address.

    """
    user = await find_user(session, email)
    return await _apply(session, user, Changes(is_active=active), None)


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


async def _keep_a_superuser(session: AsyncSession, user_id: int) -> None:
    """Lock every active superuser, so that no two take the role from each other at once."""
    active = select(User.id).where(User.is_superuser, User.is_active).order_by(User.id)
    superusers = (await session.scalars(active.with_for_update(key_share=True))).all()
    if list(superusers) == [user_id]:
        msg = f"user {user_id} is the last superuser who is not disabled"
        raise LastSuperuser(msg)


async def _apply(
    session: AsyncSession, user: User, changes: Changes, keep_key_id: int | None
) -> User:
    for change in fields(changes):
        value = cast("str | bool | None", getattr(changes, change.name))
        if value is not None:
            setattr(user, change.name, value)
    await session.flush()
    if changes.end_sign_ins:
        await end_tokens(session, user.account.id, keep_key_id)
    return user


async def _get(session: AsyncSession, query: Select[User], user_id: int) -> User:
    # A number that the column cannot hold is nobody's.
    by_id = User.id == (user_id if 0 < user_id < _BIGINT_END else 0)
    user = await session.scalar(query.where(by_id), execution_options={"populate_existing": True})
    if user is None:
        msg = f"no user has the id {user_id}"
        raise UnknownUser(msg)
    return user


def _with_account() -> Select[User]:
    return select(User).options(joinedload(User.account, innerjoin=True))
