"""Makes users of people: accounts, tags, limits, and a key or a link each, in few statements.

Works in the caller's transaction and never commits. A secret is returned once and never stored.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

from sqlalchemy import ARRAY, Text, column, func, insert, literal, select
from sqlalchemy import cast as as_type
from sqlalchemy.dialects.postgresql import insert as insert_once
from sqlalchemy.exc import IntegrityError

from tokenbalance.database.tables import (
    Account,
    ApiKey,
    User,
    UserImport,
    WelcomeLink,
)
from tokenbalance.model.limits import ACCOUNT, subject_of_key
from tokenbalance.model.values import value
from tokenbalance.people.bounded_limits import BoundedLimits
from tokenbalance.people.imports.planning import Known
from tokenbalance.people.imports.results import Gives
from tokenbalance.people.key_terms import NEW_KEY_SCOPES
from tokenbalance.people.limit_rows import add_limits, name_versions
from tokenbalance.people.limits import NO_LIMITS
from tokenbalance.people.rows import key_row, user_row
from tokenbalance.people.secrets import new_secret, prefix, sha256
from tokenbalance.people.traces import record_link, record_new_keys, record_new_user
from tokenbalance.people.users import EmailTaken, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor
    from tokenbalance.people.imports.cells import Person
    from tokenbalance.people.limits import KeyLimits

LINK_DAYS: Final = 14
"""How long a link can be used."""
_AT_ONCE: Final = 100
"""Users of one statement: the event loop also serves others."""


class ImportRepeated(UserError):
    """An import with this idempotency key was carried out before."""


@value
class Enrolled:
    """A new user, and the secret that they get."""

    person: Person
    user_id: int
    account_id: int
    secret: str


async def note_import(session: AsyncSession, idempotency_key: str, actor: Actor) -> None:
    """Note that an import is carried out; another one with the same key waits for the commit.

    Raises:
        ImportRepeated: one was carried out before.

    """
    noted = await session.scalar(
        insert_once(UserImport)
        .values(idempotency_key=idempotency_key, actor=actor.name)
        .on_conflict_do_nothing()
        .returning(UserImport.created_at)
    )
    if noted is None:
        msg = (
            "this import was carried out before; its keys or links were shown then and cannot be"
            " shown again"
        )
        raise ImportRepeated(msg)


async def find_known(session: AsyncSession, emails: Sequence[str]) -> Mapping[str, Known]:
    """Find who is a user already, by e-mail, ignoring case."""
    asked = func.unnest(as_type(literal(list(emails)), ARRAY(Text))).table_valued(
        column("email", Text)
    )
    email = asked.render_derived("asked").c.email
    rows = await session.execute(
        select(email, User.id, Account.id, User.tags)
        .join(User, func.lower(User.email) == func.lower(email))
        .join(Account, Account.user_id == User.id)
    )
    return {row[0]: Known(row[1], row[2], tuple(row[3])) for row in rows}


async def enroll(
    session: AsyncSession,
    people: Sequence[Person],
    gives: Gives,
    actor: Actor,
    key_limits: KeyLimits = NO_LIMITS,
) -> Sequence[Enrolled]:
    """Create users with accounts, and a key with these limits or a link each.

    Raises:
        EmailTaken: one of them became a user meanwhile.

    """
    enrolled: list[Enrolled] = []
    for some in _batches(people):
        users = await _create(session, some)
        for user in users:
            record_new_user(session, actor, user_row(user))
        limits = [
            (user.account.id, ACCOUNT, person.limits)
            for user, person in zip(users, some, strict=True)
        ]
        await add_limits(session, limits)
        if gives is Gives.KEYS:
            secrets = await _give_keys(session, users, actor, key_limits)
        else:
            secrets = await _give_links(session, users, actor)
        # Nothing of them is needed again, and each flush would look at all of them.
        await session.flush()
        enrolled += (
            Enrolled(person, user.id, user.account.id, secret)
            for person, user, secret in zip(some, users, secrets, strict=True)
        )
    return enrolled


async def _create(session: AsyncSession, people: Sequence[Person]) -> Sequence[User]:
    users = [
        User(
            email=person.email,
            name=person.name,
            password_hash=None,
            is_superuser=False,
            is_active=True,
            tags=list(person.tags),
            account=Account(balance=0, held=0, overdraft=0, limits=dict(person.limits)),
        )
        for person in people
    ]
    try:
        async with session.begin_nested():
            session.add_all(users)
    except IntegrityError:
        msg = "one of these e-mails became a user's meanwhile: check again"
        raise EmailTaken(msg) from None
    return users


async def _give_keys(
    session: AsyncSession, users: Sequence[User], actor: Actor, limits: KeyLimits
) -> list[str]:
    secrets = [new_secret() for _ in users]
    keys = [
        ApiKey(
            account_id=user.account.id,
            user_id=user.id,
            kind="key",
            name="",
            prefix=prefix(secret),
            secret_sha256=sha256(secret),
            limits=BoundedLimits(limits, limits).as_document(),
            scopes=list(NEW_KEY_SCOPES),
        )
        for user, secret in zip(users, secrets, strict=True)
    ]
    session.add_all(keys)
    await session.flush()
    record_new_keys(session, actor, [key_row(key) for key in keys])
    document = limits.as_document()
    await add_limits(session, [(key.account_id, subject_of_key(key.id), document) for key in keys])
    limited = [user.account.id for user in users if user.account.limits or document]
    if limited:
        await name_versions(session, limited)
    return secrets


async def _give_links(session: AsyncSession, users: Sequence[User], actor: Actor) -> list[str]:
    secrets = [new_secret("") for _ in users]
    expires_at = (await session.scalars(select(func.now()))).one() + timedelta(days=LINK_DAYS)
    links = [
        {"secret_sha256": sha256(secret), "user_id": user.id, "expires_at": expires_at}
        for user, secret in zip(users, secrets, strict=True)
    ]
    _ = await session.execute(insert(WelcomeLink), links)
    for user in users:
        record_link(session, actor, user_row(user))
    return secrets


def _batches(people: Sequence[Person]) -> Iterator[Sequence[Person]]:
    rest = iter(people)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
