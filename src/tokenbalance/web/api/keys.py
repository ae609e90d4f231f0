"""API keys: list, create, change, rotate, revoke; for owners, teams and superusers."""

from typing import Annotated

from fastapi import Depends, Request

from tokenbalance.database.connections import Session
from tokenbalance.errors import InvalidValue
from tokenbalance.model import SCOPES, Actor, Caller
from tokenbalance.people.access import asking_key, sees_everything, user_of
from tokenbalance.people.bounded_limits import new_limits
from tokenbalance.people.end_users import limits_of_each
from tokenbalance.people.key_changes import LIMITING, change_key
from tokenbalance.people.key_ends import revoke_all_keys, revoke_key
from tokenbalance.people.key_lists import keys_page
from tokenbalance.people.key_terms import TEAM_SCOPES
from tokenbalance.people.keys import create_key, rotate_key
from tokenbalance.people.sign_in_tokens import end_tokens
from tokenbalance.people.teams.key_rights import require_bearer, right_over_key
from tokenbalance.people.teams.standing import acting_in, standing_in
from tokenbalance.web.api.bodies import BodyReader
from tokenbalance.web.api.callers import Acting, Authenticated, Managing
from tokenbalance.web.api.fields import FIRST_PAGE, Cursor, Limit, Number, TeamId, UserId
from tokenbalance.web.api.key_bodies import (
    AllKeys,
    ChangedKey,
    KeyFields,
    KeyResponse,
    NewKey,
    NewKeyResponse,
    NewTeamKey,
    RevokedKeyResponse,
    RevokedKeysResponse,
    key_response,
    new_key_response,
    revoked_key_response,
)
from tokenbalance.web.api.responses import PageResponse, page_response
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.api.subjects import account_of
from tokenbalance.web.context import management_of

keys_router = api_router("Keys")


@keys_router.get("/keys", summary="List keys")
async def list_keys(  # noqa: PLR0913, PLR0917 - what the query may say
    request: Request,
    caller: Authenticated,
    user_id: UserId = None,
    team_id: TeamId = None,
    limit: Limit = FIRST_PAGE,
    after: Cursor = None,
) -> PageResponse[KeyResponse]:
    """List your keys, including revoked and expired ones; a superuser may name another user.

    With `team_id` those of a team: all for its owners, admins and viewers, your own for members.
    Sign-in tokens are not included.
    """
    _ = user_of(caller)
    if team_id is not None:
        if user_id is not None:
            msg = "Invalid 'user_id': it cannot be given with 'team_id'."
            raise InvalidValue(msg, param="user_id")
        return await keys_of_team(request, caller, team_id, limit, after)
    async with management_of(request).sessions() as session:
        account_id = await account_of(session, caller, user_id)
        page = await keys_page(session, account_id, after, limit)
    return page_response(page, lambda key: key_response(key, None))


@keys_router.get("/teams/{team_id}/keys", summary="List keys of a team")
async def keys_of_team(
    request: Request,
    caller: Authenticated,
    team_id: Number,
    limit: Limit = FIRST_PAGE,
    after: Cursor = None,
) -> PageResponse[KeyResponse]:
    """List the keys of a team: all for its owners, admins and viewers, your own for members."""
    async with management_of(request).sessions() as session:
        standing = await standing_in(session, caller, team_id)
        of_user = None if standing.may("see_all") else standing.user_id
        page = await keys_page(session, team_id, after, limit, of_user)
    return page_response(page, lambda key: key_response(key, team_id))


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

    With `team_id` the team pays, as for `POST /api/teams/{team_id}/keys`.
    """
    if body.team_id is not None:
        user_id = user_of(caller) if body.user_id is None else body.user_id
        return await _create_in_team(request, caller, actor, body.team_id, user_id, body)
    if body.project_id is not None:
        msg = "Invalid 'project_id': only with 'team_id'."
        raise InvalidValue(msg, param="project_id")
    async with management_of(request).sessions.begin() as session:
        account_id = await account_of(session, caller, body.user_id)
        return await _create(request, session, caller, actor, account_id, body)


@keys_router.post(
    "/teams/{team_id}/keys",
    status_code=201,
    summary="Create a key of a team",
    responses={403: {}},
)
async def create_in_team(
    request: Request,
    caller: Managing,
    actor: Acting,
    team_id: Number,
    body: Annotated[NewTeamKey, Depends(BodyReader(NewTeamKey))],
) -> NewKeyResponse:
    """Create a key for which the team pays; the response is the only one with its secret.

    Of your own, or for another member or nobody if you are an owner or admin of the team. It does
    not work without its member: it is revoked when the member leaves. It may send requests and
    read, not manage. Limits are as for `POST /api/keys`, and all those of its member, its project
    and its team bind it as well.
    """
    user_id = user_of(caller) if body.user_id is None else body.user_id
    if body.service:
        if body.user_id is not None:
            msg = "Invalid 'user_id': nobody answers for a service key."
            raise InvalidValue(msg, param="user_id")
        user_id = None
    return await _create_in_team(request, caller, actor, team_id, user_id, body)


@keys_router.post("/keys/all/revoke", summary="Revoke all keys", responses={403: {}})
async def revoke_all(
    request: Request,
    caller: Managing,
    actor: Acting,
    body: Annotated[AllKeys, Depends(BodyReader(AllKeys))],
) -> RevokedKeysResponse:
    """Revoke all your keys, and all keys that were made with them, at once and permanently.

    The calling key ends as well. Sign-in tokens end only if `tokens` is true, and keys of teams
    stay. A superuser may name another user.
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
    Only superusers find keys of other users; in a team, its owners and admins do. Only these change
    limits of its keys (403).
    """
    changes = body.changes()
    async with management_of(request).sessions.begin() as session:
        right = await right_over_key(session, caller, key_id, actor)
        if not LIMITING.isdisjoint(changes):
            right.require_may_limit()
        key = await change_key(
            session,
            key_id,
            right.account_id,
            asking_key(caller),
            by_superuser=sees_everything(caller),
            actor=right.actor,
            **changes,
        )
    return key_response(key, right.team_id)


@keys_router.delete("/keys/{key_id}", summary="Revoke a key", responses={403: {}})
async def revoke(
    request: Request, caller: Managing, actor: Acting, key_id: Number
) -> RevokedKeyResponse:
    """Revoke a key, and all keys that were made with it, at once and permanently.

    Revoking it again changes nothing. Only superusers find keys of other users; in a team, its
    owners and admins do.
    """
    async with management_of(request).sessions.begin() as session:
        right = await right_over_key(session, caller, key_id, actor)
        revoked = await revoke_key(session, key_id, right.account_id, actor=right.actor)
    return revoked_key_response(revoked, right.team_id)


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
        right = await right_over_key(session, caller, key_id, actor)
        key, secret = await rotate_key(
            session, key_id, right.account_id, asking_key(caller), actor=right.actor
        )
    return new_key_response(key, right.team_id, secret)


async def _create_in_team(  # noqa: PLR0913, PLR0917 - who asks for what
    request: Request,
    caller: Caller,
    actor: Actor,
    team_id: int,
    user_id: int | None,
    body: KeyFields,
) -> NewKeyResponse:
    async with management_of(request).sessions.begin() as session:
        standing = await acting_in(session, caller, team_id)
        await require_bearer(session, standing, user_id, body.project_id)
        return await _create(
            request, session, caller, actor, team_id, body, user_id, is_of_team=True
        )


async def _create(  # noqa: PLR0913, PLR0917 - who asks for what
    request: Request,
    session: Session,
    caller: Caller,
    actor: Actor,
    account_id: int,
    body: KeyFields,
    user_id: int | None = None,
    *,
    is_of_team: bool = False,
) -> NewKeyResponse:
    by_key_id = asking_key(caller)
    of_person = TEAM_SCOPES if is_of_team else SCOPES
    default_scopes = of_person if by_key_id is None else None
    limits = new_limits(
        body.limit_changes(),
        management_of(request).key_limits,
        by_superuser=sees_everything(caller),
    )
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
        sub_account_limits=limits_of_each(body.sub_account_limits),
        scopes=default_scopes if body.scopes is None else body.scopes,
        user_id=user_id,
        project_id=body.project_id,
        by_key_id=by_key_id,
        actor=actor,
    )
    return new_key_response(key, account_id if is_of_team else None, secret)
