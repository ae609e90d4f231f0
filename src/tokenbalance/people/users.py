"""Users, each with the account that pays for them. Disabled, never deleted.

Works in the caller's transaction and never commits. Returns frozen rows; only `find_record` and
`lock_record`, which the rest of `people` uses, return SQLAlchemy's objects. Knows nothing of HTTP
or of how people sign in.

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

from tokenbalance.database.ids import ID_MAX
from tokenbalance.database.paging import Page, page_of, read_cursor
from tokenbalance.database.search import has_text
from tokenbalance.database.tables import Account, User
from tokenbalance.people.emails import EMAIL_CHARS_MAX, email_mistake, normal_email
from tokenbalance.people.known_browsers import forget_browsers
from tokenbalance.people.rows import user_row
from tokenbalance.people.sign_in_tokens import invalidate_tokens
from tokenbalance.people.tag_names import clean_tag, clean_tags
from tokenbalance.people.traces import record_new_user, record_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor
    from tokenbalance.people.rows import UserRow

NAME_CHARS_MAX: Final = 200


class UserError(Exception):
    """The change of a user is refused; the message is one line for people."""


class InvalidEmail(UserError):
    """Not an acceptable e-mail address."""


class InvalidName(UserError):
    """The name is too long or has control characters."""


class EmailTaken(UserError):
    """Another user has this e-mail address; case is ignored."""


class LastSuperuser(UserError):
    """The change would leave no active superuser."""


class UnknownUser(UserError):
    """No user has this id or e-mail address."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What does not end when a change ends sign-ins: where the change was made."""

    token_id: int | None = None
    browser: str | None = field(default=None, repr=False)
    """The browser's secret."""


NOTHING_KEPT: Final = Kept()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Changes of a user; None leaves a field as it is."""

    name: str | None = None
    is_active: bool | None = None
    is_superuser: bool | None = None
    password_hash: str | None = field(default=None, repr=False)
    tags: tuple[str, ...] | None = None
    """All of them."""

    @property
    def end_sign_ins(self) -> bool:
        """Whether the user's sign-in tokens end: on a new password, or when disabled.

        Their browsers are then no longer known, either.
        """
        return self.is_active is False or self.password_hash is not None

    @property
    def may_leave_no_superuser(self) -> bool:
        """Whether the user may stop being an active superuser."""
        return self.is_active is False or self.is_superuser is False


async def create_user(  # noqa: PLR0913 - the fields of a user, by name
    session: AsyncSession,
    *,
    email: str,
    name: str = "",
    password_hash: str | None = None,
    is_superuser: bool = False,
    actor: Actor,
) -> UserRow:
    """Create a user and an empty account. Without a password hash the user cannot sign in.

    Raises:
        InvalidEmail, InvalidName: the address or the name is not acceptable.
        EmailTaken: the address is in use; the caller's transaction can go on.

    """
    user = await insert_user(
        session, email=email, name=name, password_hash=password_hash, is_superuser=is_superuser
    )
    record_new_user(session, actor, user)
    return user


async def insert_user(
    session: AsyncSession,
    *,
    email: str,
    name: str,
    password_hash: str | None,
    is_superuser: bool = False,
) -> UserRow:
    """Create a user as `create_user` does, and record nothing; for `people` only."""
    user = User(
        email=clean_email(email),
        name=clean_name(name),
        password_hash=password_hash,
        is_superuser=is_superuser,
        is_active=True,
    )
    try:
        # The unique index decides, not a look-up: two may ask for the same address at once.
        async with session.begin_nested():
            session.add(user)
    except IntegrityError:
        msg = f"a user with the e-mail {user.email} already exists"
        raise EmailTaken(msg) from None
    session.add(Account(user=user, balance=0, held=0, overdraft=0))
    await session.flush()
    return user_row(user)


async def find_user(session: AsyncSession, email: str) -> UserRow:
    """Find a user by e-mail, ignoring case.

    Raises:
        UnknownUser: no user has this address.

    """
    return user_row(await find_record(session, email))


async def get_user(session: AsyncSession, user_id: int) -> UserRow:
    """Find a user by id.

    Raises:
        UnknownUser: no user has this id.

    """
    return user_row(await _get(session, _with_account(), user_id))


async def list_users(session: AsyncSession, tag: str = "") -> Sequence[UserRow]:
    """Return every user, or those who have the tag, in the order of creation."""
    query = _tagged(_with_account(), tag).order_by(User.id)
    return [user_row(user) for user in await session.scalars(query)]


async def users_page(
    session: AsyncSession, search: str, after: str | None, limit: int, tag: str = ""
) -> Page[UserRow]:
    """Return a page of the users, in the order of creation.

    Args:
        session: the caller's transaction.
        search: a part of the e-mail or the name, ignoring case; empty for every user.
        after: the `next` of the previous page; None for the first page.
        limit: rows at most.
        tag: only those who have it; empty for every user.

    Raises:
        InvalidCursor: `after` is not a cursor of this list.
        InvalidTag: no user can have this tag.

    """
    query = _tagged(_with_account(), tag).order_by(User.id).limit(limit + 1)
    if after is not None:
        (last_id,) = read_cursor(after, (int,))
        query = query.where(User.id > last_id)
    search = search.strip()
    # Neither text that Postgres cannot hold nor text longer than the columns is worth a query.
    if not search.isprintable() or len(search) > EMAIL_CHARS_MAX:
        return Page([], None)
    if search:
        query = query.where(or_(has_text(User.email, search), has_text(User.name, search)))
    rows = [user_row(user) for user in await session.scalars(query)]
    return page_of(rows, limit, lambda user: (user.id,))


async def update_user(
    session: AsyncSession,
    user_id: int,
    changes: Changes,
    kept: Kept = NOTHING_KEPT,
    *,
    actor: Actor,
) -> UserRow:
    """Change a user. Disabling the user, or a new password, ends their sign-in tokens.

    Requests in flight are settled as usual.

    Args:
        session: the caller's transaction.
        user_id: which user.
        changes: the new values.
        kept: the sign-in token and browser of the request that makes the change.
        actor: who makes it, to be recorded.

    Raises:
        UnknownUser: no user has this id.
        InvalidName, InvalidTag: the name or a tag is not acceptable.
        LastSuperuser: there would be no active superuser; nothing was changed.

    """
    name = None if changes.name is None else clean_name(changes.name)
    tags = None if changes.tags is None else clean_tags(changes.tags)
    if changes.may_leave_no_superuser:
        await _keep_a_superuser(session, user_id)
    user = await lock_record(session, user_id)
    return await _apply(session, user, replace(changes, name=name, tags=tags), kept, actor)


async def set_active(session: AsyncSession, email: str, *, active: bool, actor: Actor) -> UserRow:
    """Enable or disable a user; keys and tokens of a disabled user are refused at once.

    The last superuser may be disabled too: callers of this function can create another.

    Raises:
        UnknownUser: no user has this address.

    """
    user = await lock_record(session, (await find_record(session, email)).id)
    return await _apply(session, user, Changes(is_active=active), NOTHING_KEPT, actor)


async def lock_tagged(session: AsyncSession, tag: str) -> Sequence[User]:
    """Lock everybody who has a tag, in the order of ids, as `lock_record`; for `people` only."""
    query = _tagged(_with_account(), tag).order_by(User.id)
    locked = query.with_for_update(of=User, key_share=True)
    users = await session.scalars(locked, execution_options={"populate_existing": True})
    return users.all()


async def find_record(session: AsyncSession, email: str) -> User:
    """Find a user with the account by e-mail, ignoring case and form; for `people` only.

    Raises:
        UnknownUser: no user has this address.

    """
    email = email.strip()
    normal = normal_email(email)
    user = None
    # Text that Postgres cannot hold is no user's address, and not worth a query.
    if email.isprintable() and len(email) <= EMAIL_CHARS_MAX:
        spellings = (func.lower(email), func.lower(normal))
        # One that was stored before e-mails were normalised is found as it was typed.
        as_typed = (func.lower(User.email) == func.lower(email)).desc()
        query = _with_account().where(func.lower(User.email).in_(spellings)).order_by(as_typed)
        user = await session.scalar(query.limit(1))
    if user is None:
        msg = f"no user has the e-mail {email!a}"
        raise UnknownUser(msg)
    return user


async def lock_record(session: AsyncSession, user_id: int) -> User:
    """Read and lock a user with the account until the commit; for `people` only.

    Raises:
        UnknownUser: no user has this id.

    """
    return await _get(session, _with_account().with_for_update(of=User, key_share=True), user_id)


def clean_email(email: str) -> str:
    """Return the address as it is stored: normalised, in the case that was typed.

    Raises:
        InvalidEmail: too long, not exactly one `@` between two parts, spaces or control characters.

    """
    email = normal_email(email)
    mistake = email_mistake(email)
    if mistake is not None:
        raise InvalidEmail(mistake)
    return email


def clean_name(name: str) -> str:
    """Return the name without surrounding space.

    Raises:
        InvalidName: too long, or it has control characters.

    """
    name = name.strip()
    if len(name) > NAME_CHARS_MAX or not name.isprintable():
        msg = f"the name must have at most {NAME_CHARS_MAX} characters and no control characters"
        raise InvalidName(msg)
    return name


async def _keep_a_superuser(session: AsyncSession, user_id: int) -> None:
    """Lock every active superuser, so that no two can demote each other at once."""
    active = select(User.id).where(User.is_superuser, User.is_active).order_by(User.id)
    superusers = (await session.scalars(active.with_for_update(key_share=True))).all()
    if list(superusers) == [user_id]:
        msg = f"user {user_id} is the last active superuser"
        raise LastSuperuser(msg)


async def _apply(
    session: AsyncSession, user: User, changes: Changes, kept: Kept, actor: Actor
) -> UserRow:
    before = user_row(user)
    for change in fields(changes):
        value = cast("str | bool | tuple[str, ...] | None", getattr(changes, change.name))
        if value is not None:
            setattr(user, change.name, list(value) if isinstance(value, tuple) else value)
    await session.flush()
    if changes.end_sign_ins:
        # That they ended is told by the event of the change.
        _ = await invalidate_tokens(session, user.account.id, kept.token_id)
        await forget_browsers(session, user.id, kept.browser)
    after = user_row(user)
    record_user(session, actor, before, after, new_password=changes.password_hash is not None)
    return after


async def _get(session: AsyncSession, query: Select[User], user_id: int) -> User:
    # The column cannot even be compared with a larger number.
    by_id = User.id == (user_id if 0 < user_id <= ID_MAX else 0)
    user = await session.scalar(query.where(by_id), execution_options={"populate_existing": True})
    if user is None:
        msg = f"no user has the id {user_id}"
        raise UnknownUser(msg)
    return user


def _tagged(query: Select[User], tag: str) -> Select[User]:
    return query.where(User.tags.contains([clean_tag(tag)])) if tag else query


def _with_account() -> Select[User]:
    return select(User).options(joinedload(User.account, innerjoin=True))
