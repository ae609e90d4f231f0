"""API keys of an account: create and rotate.

A secret is returned once and never stored. Works in the caller's transaction and never commits.
Returns frozen rows. Sign-in tokens, which are in the same table, are invisible here.

Who asks is a person, who may give everything, or a key, which gives nothing that it does not have:
`by_key_id` says which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.database.tables import ApiKey
from tokenbalance.people.account_limits import get_account
from tokenbalance.people.bounded_limits import BoundedLimits
from tokenbalance.people.budgets import copy_budgets
from tokenbalance.people.end_users import clean_source, require_source
from tokenbalance.people.key_fields import clean_expiry, clean_key_name, known_status
from tokenbalance.people.key_givers import (
    apply_change,
    asking_key,
    lock_maker,
    locked_key,
    require_within,
    working,
)
from tokenbalance.people.key_terms import (
    NEW_KEY_SCOPES,
    KeyTerms,
    clean_scopes,
    require_scopes_of_team,
    scopes_for_team,
)
from tokenbalance.people.limit_rows import bind_key, lock_counts
from tokenbalance.people.limits import NO_LIMITS, KeyLimits
from tokenbalance.people.rows import key_row
from tokenbalance.people.secrets import new_secret, prefix, sha256
from tokenbalance.people.teams.suspensions import renew_suspensions
from tokenbalance.people.traces import record_new_key

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor
    from tokenbalance.people.rows import KeyRow


async def create_key(  # noqa: PLR0913 - the fields of a key, by name
    session: AsyncSession,
    account_id: int,
    *,
    name: str = "",
    expires_at: datetime | None = None,
    limits: KeyLimits = NO_LIMITS,
    bounds: KeyLimits = NO_LIMITS,
    insufficient_status: int | None = None,
    force_store_false: bool = False,
    scopes: Collection[str] | None = None,
    sub_account_from: str | None = None,
    sub_account_limits: KeyLimits = NO_LIMITS,
    user_id: int | None = None,
    project_id: int | None = None,
    by_key_id: int | None = None,
    actor: Actor,
) -> tuple[KeyRow, str]:
    """Create a key and its secret. The secret cannot be shown again: only its SHA-256 is stored.

    Args:
        session: the caller's transaction.
        account_id: the account that pays for its requests.
        name: what it is for.
        expires_at: with a time zone; None: never.
        limits: what limits its requests.
        bounds: the loosest limits that its owner may set later.
        insufficient_status: 402 or 429, the status of a request that the balance does not cover;
            None: the operator's choice.
        force_store_false: its responses and chats are sent with `store: false`.
        scopes: what it may be used for; None: for inference, or as the key that asks.
        sub_account_from: where a request names its end user; None: nowhere.
        sub_account_limits: of each end user.
        user_id: of a team's key: the member who answers for it, without whom it is suspended; None:
            nobody, it is a service key. A key of a personal account is its user's.
        project_id: of a team's key: the project that it belongs to.
        by_key_id: the key that asks, with which it is made and ends; None: a person.
        actor: who creates it, to be recorded.

    Raises:
        InvalidKeyName, InvalidExpiry, InvalidInsufficientStatus, InvalidScopes: the value is not
            acceptable; the keys of a team may not manage anything.
        InvalidLimit: `sub_account_from` is not valid, or missing where there are limits for each.
        ScopesMissing, InvalidLimit: the key that asks does not have what it would give.
        MakerEnded: the key that asks was revoked or has expired.

    """
    # Before the keys, as where limits change.
    await lock_counts(session, account_id)
    is_of_team = (await get_account(session, account_id)).user_id is None
    actor = actor.for_team if is_of_team else actor
    # Locked until the end: it is not revoked without this one.
    maker = None if by_key_id is None else (await lock_maker(session, by_key_id)).terms
    default_scopes = NEW_KEY_SCOPES if maker is None else maker.scopes
    if scopes is None:
        scopes = scopes_for_team(default_scopes) if is_of_team else default_scopes
    terms = KeyTerms(
        scopes=clean_scopes(scopes),
        expires_at=clean_expiry(expires_at),
        limits=limits,
        insufficient_status=known_status(insufficient_status),
        force_store_false=force_store_false,
        sub_account_from=clean_source(sub_account_from),
        sub_account_limits=sub_account_limits,
    )
    if maker is not None:
        terms = terms.within(maker)
    require_source(terms.sub_account_from, sub_account_limits)
    if is_of_team:
        require_scopes_of_team(terms.scopes)
    secret = new_secret()
    key = ApiKey(
        account_id=account_id,
        user_id=user_id,
        project_id=project_id,
        kind="key",
        name=clean_key_name(name),
        prefix=prefix(secret),
        secret_sha256=sha256(secret),
        expires_at=terms.expires_at,
        limits=BoundedLimits(terms.limits, bounds).as_document(),
        insufficient_status=terms.insufficient_status,
        force_store_false=terms.force_store_false,
        scopes=list(terms.scopes),
        sub_account_from=terms.sub_account_from,
        sub_account_limits=terms.sub_account_limits.as_document(),
        made_by_key_id=by_key_id,
    )
    session.add(key)
    await session.flush()
    if by_key_id is not None:
        await copy_budgets(session, by_key_id, key)
    await bind_key(session, key)
    if is_of_team:
        await renew_suspensions(session, account_id)
    await session.refresh(key)
    record_new_key(session, actor, key_row(key))
    return key_row(key), secret


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
        key = await locked_key(session, key_id, account_id)
        require_within(key.terms, await asking_key(session, by_key_id), key_id)
    secret = new_secret()
    new = working(key_id, account_id).values(secret_sha256=sha256(secret), prefix=prefix(secret))
    return key_row(await apply_change(session, key_id, account_id, new, actor)), secret
