"""API keys: list, create, change, rotate, revoke; for their owners and for superusers."""

from typing import Annotated

from fastapi import Depends, Request

from tokenbalance.model import SCOPES
from tokenbalance.people.access import asking_key, sees_everything
from tokenbalance.people.bounded_limits import new_limits
from tokenbalance.people.end_users import limits_of_each
from tokenbalance.people.key_changes import change_key
from tokenbalance.people.key_ends import revoke_all_keys, revoke_key
from tokenbalance.people.key_lists import keys_page
from tokenbalance.people.keys import create_key, rotate_key
from tokenbalance.people.sign_in_tokens import end_tokens
from tokenbalance.web.api.bodies import BodyReader
from tokenbalance.web.api.callers import Acting, Authenticated, Managing
from tokenbalance.web.api.fields import FIRST_PAGE, Cursor, Limit, Number, UserId
from tokenbalance.web.api.key_bodies import (
    AllKeys,
    ChangedKey,
    KeyResponse,
    NewKey,
    NewKeyResponse,
    RevokedKeyResponse,
    RevokedKeysResponse,
    key_response,
    new_key_response,
    revoked_key_response,
)
from tokenbalance.web.api.responses import PageResponse, page_response
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.api.subjects import account_of, account_seen_by
from tokenbalance.web.context import management_of

keys_router = api_router("Keys")


@keys_router.get("/keys", summary="List keys")
async def list_keys(
    request: Request,
    caller: Authenticated,
    user_id: UserId = None,
    limit: Limit = FIRST_PAGE,
    after: Cursor = None,
) -> PageResponse[KeyResponse]:
    """List your keys, including revoked and expired ones; a superuser may name another user.

    Sign-in tokens are not included.
    """
    async with management_of(request).sessions() as session:
        account_id = await account_of(session, caller, user_id)
        return page_response(await keys_page(session, account_id, after, limit), key_response)


@keys_router.post("/keys", status_code=201, summary="Create a key", responses={403: {}})
async def create(
    request: Request,
    caller: Managing,
    actor: Acting,
    body: Annotated[NewKey, Depends(BodyReader(NewKey))],
) -> NewKeyResponse:
    """Create a key; the response is the only one with its secret.

    A key that is made with a key does not exceed it: scopes that the calling key does not have are
    refused (403), and so are models that its own do not cover (400); the earlier end and the
    tighter limits count. It is revoked with the calling key.

    Limits that are left out are those of `TOKENBALANCE_KEY_LIMITS`, which only a superuser may
    exceed or lift with null; limits that a superuser sets can be loosened only by a superuser. A
    key of a disabled user works after the user is enabled again.
    """
    by_key_id = asking_key(caller)
    default_scopes = SCOPES if by_key_id is None else None
    limits = new_limits(
        body.limit_changes(),
        management_of(request).key_limits,
        by_superuser=sees_everything(caller),
    )
    of_each = limits_of_each(body.sub_account_limits)
    async with management_of(request).sessions.begin() as session:
        account_id = await account_of(session, caller, body.user_id)
        key, secret = await create_key(
            session,
            account_id,
            name=body.name,
            expires_at=body.expires_at,
            limits=limits.limits,
            bounds=limits.bounds,
            insufficient_status=body.insufficient_status,
            force_store_false=body.force_store_false,
            sub_account_from=body.sub_account_from,
            sub_account_limits=of_each,
            scopes=default_scopes if body.scopes is None else body.scopes,
            by_key_id=by_key_id,
            actor=actor,
        )
    return new_key_response(key, secret)


@keys_router.post("/keys/all/revoke", summary="Revoke all keys", responses={403: {}})
async def revoke_all(
    request: Request,
    caller: Managing,
    actor: Acting,
    body: Annotated[AllKeys, Depends(BodyReader(AllKeys))],
) -> RevokedKeysResponse:
    """Revoke all your keys, and all keys that were made with them, at once and permanently.

    The calling key ends as well. Sign-in tokens end only if `tokens` is true. A superuser may name
    another user.
    """
    async with management_of(request).sessions.begin() as session:
        account_id = await account_of(session, caller, body.user_id)
        revoked = await revoke_all_keys(session, account_id, actor=actor)
        if body.tokens:
            await end_tokens(session, account_id, actor=actor)
    return RevokedKeysResponse(revoked=revoked)


@keys_router.patch("/keys/{key_id}", summary="Change a key", responses={403: {}})
async def change(
    request: Request,
    caller: Managing,
    actor: Acting,
    key_id: Number,
    body: Annotated[ChangedKey, Depends(BodyReader(ChangedKey))],
) -> KeyResponse:
    """Change a key: its name, expiry, scopes, limits, or the status when the balance is too low.

    Its secret keeps working. A limit that is null is removed; a limit that a superuser has set can
    be made looser only by a superuser. Keys that were made with it follow where it ends earlier,
    has fewer scopes or tighter limits; such a key itself stays within those of its maker. A key
    cannot give scopes that it does not have, nor anything to a key that is valid for longer or has
    looser limits (403), nor a later end than its own (400). A revoked or expired key is refused
    (400).
    Only superusers find keys of other users.
    """
    async with management_of(request).sessions.begin() as session:
        seen = account_seen_by(caller)
        by_key_id = asking_key(caller)
        key = await change_key(
            session,
            key_id,
            seen,
            by_key_id,
            by_superuser=sees_everything(caller),
            actor=actor,
            **body.changes(),
        )
    return key_response(key)


@keys_router.delete("/keys/{key_id}", summary="Revoke a key", responses={403: {}})
async def revoke(
    request: Request, caller: Managing, actor: Acting, key_id: Number
) -> RevokedKeyResponse:
    """Revoke a key, and all keys that were made with it, at once and permanently.

    Revoking it again changes nothing. Only superusers find keys of other users.
    """
    async with management_of(request).sessions.begin() as session:
        revoked = await revoke_key(session, key_id, account_seen_by(caller), actor=actor)
    return revoked_key_response(revoked)


@keys_router.post("/keys/{key_id}/rotate", summary="Rotate a key", responses={403: {}})
async def rotate(
    request: Request, caller: Managing, actor: Acting, key_id: Number
) -> NewKeyResponse:
    """Give a key a new secret; the old one stops working at once.

    The response is the only one with the new secret. Id, name, limits and history stay, and keys
    that were made with it keep working: after a leak, revoke it instead. A revoked or expired key
    is refused (400). A key gets no secret of a key with scopes that it does not have, or that is
    valid for longer or has looser limits (403).
    """
    async with management_of(request).sessions.begin() as session:
        seen, by_key_id = account_seen_by(caller), asking_key(caller)
        key, secret = await rotate_key(session, key_id, seen, by_key_id, actor=actor)
    return new_key_response(key, secret)
