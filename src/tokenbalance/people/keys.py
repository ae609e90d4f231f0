"""API keys of an account: create, change, rotate.

A secret is returned once and never stored. Works in the caller's transaction and never commits.
Returns frozen rows. Sign-in tokens, which are in the same table, are invisible here.

Who asks is a person, who may give everything, or a key, which gives nothing that it does not have:
`by_key_id` says which.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypedDict

from sqlalchemy import update

from tokenbalance.database.tables import INSUFFICIENT_STATUSES, ApiKey
from tokenbalance.people.key_errors import (
    InvalidExpiry,
    InvalidInsufficientStatus,
    InvalidKeyName,
    InvalidScopes,
    KeyEnded,
    KeyExceeds,
    MakerEnded,
    ScopesMissing,
    UnknownKey,
)
from tokenbalance.people.key_families import is_working, lock_line, pass_down
from tokenbalance.people.key_lists import get_key, lock_key, one_key
from tokenbalance.people.key_terms import (
    NEW_KEY_SCOPES,
    KeyTerms,
    clean_scopes,
    earlier,
    require_scopes,
)
from tokenbalance.people.limits import KeyLimits
from tokenbalance.people.rows import key_row
from tokenbalance.people.secrets import new_secret, prefix, sha256
from tokenbalance.people.traces import record_key, record_new_key

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Unpack

    from sqlalchemy import Update
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor, Scope
    from tokenbalance.people.rows import KeyRow

KEY_NAME_CHARS_MAX: Final = 200
STATUS_CHOICES: Final = INSUFFICIENT_STATUSES
"""For a request that the balance does not cover."""


class KeyChanges(TypedDict, total=False):
    """Changes of a key; a missing field stays as it is."""

    name: str
    expires_at: datetime | None
    insufficient_status: int | None
    force_store_false: bool
    scopes: Collection[str]


class _Values(TypedDict, total=False):
    """The same as columns."""

    name: str
    expires_at: datetime | None
    insufficient_status: int | None
    force_store_false: bool
    scopes: list[Scope]


async def create_key(  # noqa: PLR0913 - the fields of a key, by name
    session: AsyncSession,
    account_id: int,
    *,
    name: str = "",
    expires_at: datetime | None = None,
    limits: KeyLimits | None = None,
    insufficient_status: int | None = None,
    force_store_false: bool = False,
    scopes: Collection[str] | None = None,
    by_key_id: int | None = None,
    actor: Actor,
) -> tuple[KeyRow, str]:
    """Create a key and its secret. The secret cannot be shown again: only its SHA-256 is stored.

    Args:
        session: the caller's transaction.
        account_id: the account that pays for its requests.
        name: what it is for.
        expires_at: with a time zone; None: never.
        limits: None: no limits.
        insufficient_status: 402 or 429, the status of a request that the balance does not cover;
            None: the operator's choice.
        force_store_false: its responses and chats are sent with `store: false`.
        scopes: what it may be used for; None: for inference, or as the key that asks.
        by_key_id: the key that asks, with which it is made and ends; None: a person.
        actor: who creates it, to be recorded.

    Raises:
        InvalidKeyName, InvalidExpiry, InvalidInsufficientStatus, InvalidScopes: the value is not
            acceptable.
        ScopesMissing, InvalidLimit: the key that asks does not have what it would give.
        MakerEnded: the key that asks was revoked or has expired.

    """
    # Locked until the end: it is not revoked without this one.
    maker = None if by_key_id is None else (await _lock_maker(session, by_key_id)).terms
    default_scopes = NEW_KEY_SCOPES if maker is None else maker.scopes
    terms = KeyTerms(
        scopes=default_scopes if scopes is None else clean_scopes(scopes),
        expires_at=None if expires_at is None else _clean_expiry(expires_at),
        limits=limits or KeyLimits(),
        insufficient_status=_known_status(insufficient_status),
        force_store_false=force_store_false,
    )
    if maker is not None:
        terms = terms.within(maker)
    secret = new_secret()
    key = ApiKey(
        account_id=account_id,
        kind="key",
        name=clean_key_name(name),
        prefix=prefix(secret),
        secret_sha256=sha256(secret),
        expires_at=terms.expires_at,
        limits=terms.limits.as_document(),
        insufficient_status=terms.insufficient_status,
        force_store_false=terms.force_store_false,
        scopes=list(terms.scopes),
        made_by_key_id=by_key_id,
    )
    session.add(key)
    await session.flush()
    await session.refresh(key)
    await record_new_key(session, actor, key_row(key))
    return key_row(key), secret


async def change_key(
    session: AsyncSession,
    key_id: int,
    account_id: int | None,
    by_key_id: int | None = None,
    *,
    actor: Actor,
    **changes: Unpack[KeyChanges],
) -> KeyRow:
    """Change a key; its secret keeps working.

    An end or scopes beyond those of its maker are cut to the maker's end, or refused. Keys made
    with it follow where it ends earlier, has fewer scopes than before, or stores nothing. A key
    that asks gives nothing, to itself neither, that it does not have.

    Args:
        session: the caller's transaction.
        key_id: which key.
        account_id: the account that it must belong to; None: any.
        by_key_id: the key that asks; None: a person.
        actor: who changes it, to be recorded.
        **changes: the new values.

    Raises:
        InvalidKeyName, InvalidExpiry, InvalidInsufficientStatus, InvalidScopes: the value is not
            acceptable, or the key that asks would give a later end than its own.
        ScopesMissing: the key that asks does not have a scope that it would give.
        KeyExceeds: it would give something to a key that is valid for longer or less limited.
        MakerEnded: the key that asks was revoked or has expired.
        UnknownKey: no key has this id, or it is another account's.
        KeyEnded: it was revoked or has expired.

    """
    values = _clean(changes)
    passes_down = not {"expires_at", "force_store_false", "scopes"}.isdisjoint(values)
    if passes_down or by_key_id is not None:
        await _keep_within(session, await get_key(session, key_id, account_id), by_key_id, values)
    new = _working(key_id, account_id).values(**values)
    changed = await _change(session, key_id, account_id, new, actor)
    if passes_down:
        await pass_down(session, changed, actor)
    return key_row(changed)


async def rotate_key(
    session: AsyncSession,
    key_id: int,
    account_id: int | None,
    by_key_id: int | None = None,
    *,
    actor: Actor,
) -> tuple[KeyRow, str]:
    """Give a key a new secret; the old secret stops working at once. All else stays as it is.

    Keys made with it stay as well: after a leak, revoke a key rather than rotate it.

    Args:
        session: the caller's transaction.
        key_id: which key.
        account_id: the account that it must belong to; None: any.
        by_key_id: the key that asks; None: a person. It gets no secret with a scope that it does
            not have, nor one that is valid for longer or less limited.
        actor: who does it, to be recorded.

    Raises:
        UnknownKey: no key has this id, or it is another account's.
        KeyEnded: it was revoked or has expired.
        ScopesMissing, KeyExceeds: the key that asks does not have what it would get.
        MakerEnded: the key that asks was revoked or has expired.

    """
    if by_key_id is not None:
        key = await _locked(session, key_id, account_id)
        _require_within(key.terms, await _asking(session, by_key_id), key_id)
    secret = new_secret()
    new = _working(key_id, account_id).values(secret_sha256=sha256(secret), prefix=prefix(secret))
    return key_row(await _change(session, key_id, account_id, new, actor)), secret


def clean_key_name(name: str) -> str:
    """Return the name without surrounding space.

    Raises:
        InvalidKeyName: too long, or it has control characters.

    """
    name = name.strip()
    if len(name) > KEY_NAME_CHARS_MAX or not name.isprintable():
        msg = (
            f"the name of a key must have at most {KEY_NAME_CHARS_MAX} characters"
            " and no control characters"
        )
        raise InvalidKeyName(msg)
    return name


def _clean_expiry(expires_at: datetime) -> datetime:
    try:
        utc = expires_at.astimezone(UTC) if expires_at.tzinfo else None
    except OverflowError:
        utc = None
    if utc is None or utc <= datetime.now(UTC):
        msg = "the expiry of a key must be in the future and have a time zone"
        raise InvalidExpiry(msg)
    return utc


def _known_status(status: int | None) -> int | None:
    if status is not None and status not in INSUFFICIENT_STATUSES:
        msg = f"insufficient_status must be one of {INSUFFICIENT_STATUSES}, or null"
        raise InvalidInsufficientStatus(msg)
    return status


def _clean(changes: KeyChanges) -> _Values:
    values = _Values()
    if "name" in changes:
        values["name"] = clean_key_name(changes["name"])
    if "expires_at" in changes:
        expires_at = changes["expires_at"]
        values["expires_at"] = None if expires_at is None else _clean_expiry(expires_at)
    if "insufficient_status" in changes:
        values["insufficient_status"] = _known_status(changes["insufficient_status"])
    if "force_store_false" in changes:
        values["force_store_false"] = changes["force_store_false"]
    if "scopes" in changes:
        values["scopes"] = list(clean_scopes(changes["scopes"]))
    return values


async def _lock_maker(session: AsyncSession, key_id: int) -> KeyRow:
    maker = await lock_line(session, key_id)
    if maker is None or key_row(maker).has_ended(datetime.now(UTC)):
        raise MakerEnded(_ended(key_id))
    return key_row(maker)


async def _keep_within(
    session: AsyncSession, key: KeyRow, by_key_id: int | None, values: _Values
) -> None:
    """Keep a change within what the maker of the key has, and the key that asks."""
    maker = None if key.made_by_key_id is None else await lock_line(session, key.made_by_key_id)
    if maker is not None and "expires_at" in values:
        values["expires_at"] = earlier(values["expires_at"], maker.expires_at)
    if maker is not None and maker.force_store_false and "force_store_false" in values:
        values["force_store_false"] = True
    if by_key_id is not None:
        # Read again: until it is locked, somebody may take from it what this change would restore.
        key = await _locked(session, key.id, key.account_id)
        _keep_within_asking(await _asking(session, by_key_id), key, values)
    if maker is not None:
        _require_scopes_of_maker(maker, values)


async def _locked(session: AsyncSession, key_id: int, account_id: int | None) -> KeyRow:
    key = await lock_key(session, key_id, account_id)
    if key is None:
        raise UnknownKey(key_id)
    return key


async def _asking(session: AsyncSession, key_id: int) -> KeyRow:
    asking = await get_key(session, key_id, None)
    if asking.has_ended(datetime.now(UTC)):
        raise MakerEnded(_ended(key_id))
    return asking


def _keep_within_asking(asking: KeyRow, key: KeyRow, values: _Values) -> None:
    """Refuse to give what the key that asks does not have; what a key has already it keeps."""
    end = values.get("expires_at", key.expires_at)
    gained = set(values.get("scopes", ())) - set(key.scopes)
    is_later = earlier(end, key.expires_at) != end
    require_scopes(gained, asking.scopes)
    if is_later and earlier(end, asking.expires_at) != end:
        msg = "a key cannot set an expiry later than its own"
        raise InvalidExpiry(msg)
    stores_nothing = values.get("force_store_false", key.force_store_false)
    if gained or is_later or (key.force_store_false and not stores_nothing):
        given = replace(
            key.terms,
            scopes=tuple(gained),
            expires_at=end,
            force_store_false=stores_nothing,
        )
        _require_within(given, asking, key.id)


def _require_within(given: KeyTerms, asking: KeyRow, key_id: int) -> None:
    """Require that the key that asks has all that it would give, or get."""
    require_scopes(given.scopes, asking.scopes)
    if not given.is_within(asking.terms):
        msg = (
            f"key {key_id} is valid for longer, or has looser limits, than the key that asks:"
            " sign in to change or rotate it"
        )
        raise KeyExceeds(msg)


def _require_scopes_of_maker(maker: ApiKey, values: _Values) -> None:
    try:
        require_scopes(values.get("scopes", ()), maker.scopes)
    except ScopesMissing as error:
        missing = ", ".join(error.missing)
        msg = f"key {maker.id}, with which this key was made, does not have the scopes {missing}"
        raise InvalidScopes(msg) from error


def _ended(key_id: int) -> str:
    return f"key {key_id} was revoked or has expired"


def _working(key_id: int, account_id: int | None) -> Update:
    """Build the change of one key that has not ended."""
    return update(ApiKey).where(*one_key(key_id, account_id), is_working())


async def _change(
    session: AsyncSession,
    key_id: int,
    account_id: int | None,
    change: Update,
    actor: Actor,
) -> ApiKey:
    before = await lock_key(session, key_id, account_id)
    changed = change.returning(ApiKey)
    key = await session.scalar(changed, execution_options={"populate_existing": True})
    if key is None or before is None:
        ended = await get_key(session, key_id, account_id)
        msg = f"key {ended.id} was revoked or has expired: create a new one"
        raise KeyEnded(msg)
    await record_key(session, actor, before, key_row(key))
    return key
