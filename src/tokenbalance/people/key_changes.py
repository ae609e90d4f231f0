"""Changes of an API key, whose secret keeps working; the keys made with it follow.

Works in the caller's transaction and never commits. Who asks is a person, who may give everything,
or a key, which gives nothing that it does not have: `by_key_id` says which. Sign-in tokens, which
are in the same table, are invisible here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypedDict

from tokenbalance.people.account_limits import get_account
from tokenbalance.people.bounded_limits import BoundedLimits
from tokenbalance.people.end_users import clean_source, require_source
from tokenbalance.people.key_errors import InvalidExpiry, InvalidScopes, ScopesMissing
from tokenbalance.people.key_families import lock_accounts, lock_line, pass_down
from tokenbalance.people.key_fields import clean_expiry, clean_key_name, known_status
from tokenbalance.people.key_givers import (
    apply_change,
    asking_key,
    locked_key,
    require_within,
    working,
)
from tokenbalance.people.key_lists import get_key
from tokenbalance.people.key_terms import (
    clean_scopes,
    earlier,
    require_scopes,
    require_scopes_of_team,
)
from tokenbalance.people.limit_rows import bind_key
from tokenbalance.people.limits import KeyLimits
from tokenbalance.people.rows import key_row
from tokenbalance.people.tighter_limits import tighter

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from typing import Unpack

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor, Document, Scope
    from tokenbalance.people.key_terms import KeyTerms
    from tokenbalance.people.limits import LimitChanges
    from tokenbalance.people.rows import KeyRow


class KeyChanges(TypedDict, total=False):
    """Changes of a key; a missing field stays as it is."""

    name: str
    expires_at: datetime | None
    insufficient_status: int | None
    force_store_false: bool
    scopes: Collection[str]
    limits: LimitChanges
    """The others stay as they are."""
    sub_account_from: str | None
    sub_account_limits: KeyLimits
    """All of them."""


class _Values(TypedDict, total=False):
    """The same as columns."""

    name: str
    expires_at: datetime | None
    insufficient_status: int | None
    force_store_false: bool
    scopes: list[Scope]
    limits: Document
    sub_account_from: str | None
    sub_account_limits: Document


_PASSED_DOWN: Final = frozenset(_Values.__annotations__) - {"name", "insufficient_status"}
"""What keys follow the key with which they were made in."""
LIMITING: Final = frozenset({"limits", "sub_account_from", "sub_account_limits"})
"""What limits the requests of a key."""


async def change_key(  # noqa: PLR0913 - each says who asks for what
    session: AsyncSession,
    key_id: int,
    account_id: int | None,
    by_key_id: int | None = None,
    *,
    by_superuser: bool = False,
    actor: Actor,
    **changes: Unpack[KeyChanges],
) -> KeyRow:
    """Change a key; its secret keeps working.

    An end, scopes or limits beyond those of its maker are cut to the maker's, or refused. Keys made
    with it follow where it ends earlier, has fewer scopes or tighter limits than before, or stores
    nothing. A key that asks gives nothing, to itself neither, that it does not have.

    Args:
        session: the caller's transaction.
        key_id: which key.
        account_id: the account that it must belong to; None: any.
        by_key_id: the key that asks; None: a person.
        by_superuser: may set limits that are looser than the bounds of the key.
        actor: who changes it, to be recorded.
        **changes: the new values.

    Raises:
        InvalidKeyName, InvalidExpiry, InvalidInsufficientStatus, InvalidScopes: the value is not
            acceptable, or the key that asks would give a later end than its own.
        InvalidLimit: a limit is looser than its bound or than the maker's, or not valid.
        ScopesMissing: the key that asks does not have a scope that it would give.
        KeyExceeds: it would give something to a key that is valid for longer or less limited.
        MakerEnded: the key that asks was revoked or has expired.
        UnknownKey: no key has this id, or it is another account's.
        KeyEnded: it was revoked or has expired.

    """
    values = _clean(changes)
    passes_down = not _PASSED_DOWN.isdisjoint(changes)
    if not LIMITING.isdisjoint(changes):
        await lock_accounts(session, key_id)
    if passes_down or by_key_id is not None:
        key = await get_key(session, key_id, account_id)
        maker = None if key.made_by_key_id is None else await lock_line(session, key.made_by_key_id)
        # Read again: until it is locked, somebody may take from it what this change would restore.
        key = await locked_key(session, key_id, account_id)
        if "limits" in changes:
            wanted = key.bounded.changed(changes["limits"], by_superuser=by_superuser)
            values["limits"] = wanted.as_document()
        if "scopes" in values and (await get_account(session, key.account_id)).user_id is None:
            require_scopes_of_team(values["scopes"])
        if maker is not None:
            _keep_within_maker(key_row(maker), values)
        _require_source(key, changes, values)
        if by_key_id is not None:
            _keep_within_asking(await asking_key(session, by_key_id), key, values)
        if maker is not None:
            _require_scopes_of_maker(key_row(maker), values)
    new = working(key_id, account_id).values(**values)
    changed = await apply_change(session, key_id, account_id, new, actor)
    if not LIMITING.isdisjoint(values):
        await bind_key(session, changed)
    if passes_down:
        await pass_down(session, changed, actor)
    return key_row(changed)


def _clean(changes: KeyChanges) -> _Values:
    values = _Values()
    if "name" in changes:
        values["name"] = clean_key_name(changes["name"])
    if "expires_at" in changes:
        values["expires_at"] = clean_expiry(changes["expires_at"])
    if "insufficient_status" in changes:
        values["insufficient_status"] = known_status(changes["insufficient_status"])
    if "force_store_false" in changes:
        values["force_store_false"] = changes["force_store_false"]
    if "scopes" in changes:
        values["scopes"] = list(clean_scopes(changes["scopes"]))
    if "sub_account_from" in changes:
        values["sub_account_from"] = clean_source(changes["sub_account_from"])
    if "sub_account_limits" in changes:
        values["sub_account_limits"] = changes["sub_account_limits"].as_document()
    return values


def _require_source(key: KeyRow, changes: KeyChanges, values: _Values) -> None:
    if "sub_account_limits" in changes:
        named_in = values.get("sub_account_from", key.sub_account_from)
        require_source(named_in, changes["sub_account_limits"])


def _keep_within_maker(maker: KeyRow, values: _Values) -> None:
    """Keep a change within what the maker of the key has."""
    if "expires_at" in values:
        values["expires_at"] = earlier(values["expires_at"], maker.expires_at)
    if maker.force_store_false and "force_store_false" in values:
        values["force_store_false"] = True
    if "limits" in values:
        wanted = BoundedLimits.stored(values["limits"])
        values["limits"] = replace(
            wanted, limits=tighter(wanted.limits, maker.limits)
        ).as_document()
    if maker.sub_account_from and "sub_account_from" in values:
        values["sub_account_from"] = maker.sub_account_from
    if "sub_account_limits" in values:
        wanted_of_each = KeyLimits.stored(values["sub_account_limits"])
        of_each = tighter(wanted_of_each, maker.sub_account_limits)
        values["sub_account_limits"] = of_each.as_document()


def _keep_within_asking(asking: KeyRow, key: KeyRow, values: _Values) -> None:
    """Refuse to give what the key that asks does not have; what a key has already it keeps."""
    end = values.get("expires_at", key.expires_at)
    gained = set(values.get("scopes", ())) - set(key.scopes)
    require_scopes(gained, asking.scopes)
    if earlier(end, key.expires_at) != end and earlier(end, asking.expires_at) != end:
        msg = "a key cannot set an expiry later than its own"
        raise InvalidExpiry(msg)
    given = replace(_with(key.terms, values), scopes=tuple(gained))
    if gained or not given.is_within(replace(key.terms, scopes=())):
        require_within(given, asking, key.id)


def _with(terms: KeyTerms, values: _Values) -> KeyTerms:
    """Return what a key may do once it has these values."""
    limits = BoundedLimits.stored(values["limits"]).limits if "limits" in values else terms.limits
    of_each = terms.sub_account_limits
    if "sub_account_limits" in values:
        of_each = KeyLimits.stored(values["sub_account_limits"])
    return replace(
        terms,
        expires_at=values.get("expires_at", terms.expires_at),
        limits=limits,
        force_store_false=values.get("force_store_false", terms.force_store_false),
        sub_account_from=values.get("sub_account_from", terms.sub_account_from),
        sub_account_limits=of_each,
    )


def _require_scopes_of_maker(maker: KeyRow, values: _Values) -> None:
    try:
        require_scopes(values.get("scopes", ()), maker.scopes)
    except ScopesMissing as error:
        missing = ", ".join(error.missing)
        msg = f"key {maker.id}, with which this key was made, does not have the scopes {missing}"
        raise InvalidScopes(msg) from error
