"""The caller of a management route: a stranger, a user, or a superuser; and who acts there.

Only identifies the caller; `people.access` decides what a role may do.
"""

from typing import Annotated, TypeAlias, cast

from fastapi import Depends, Request

from tokenbalance.errors import InvalidApiKey, NotAllowed
from tokenbalance.model import Actor, Caller
from tokenbalance.people.access import require_inference, require_manage, require_superuser
from tokenbalance.people.callers import RefusedKey, authenticate
from tokenbalance.people.refused_keys import note_refused_key
from tokenbalance.web.actors import find_actor
from tokenbalance.web.context import address_of, management_of


async def signed_in(request: Request) -> Caller:
    """Find the caller by the key or sign-in token of the request.

    Raises:
        InvalidApiKey: there is no valid one.

    """
    headers = cast("list[tuple[bytes, bytes]]", request.scope["headers"])
    pool = management_of(request).pool
    try:
        caller = await authenticate(pool, headers)
    except RefusedKey as refused:
        await note_refused_key(pool, refused, address_of(request))
        raise
    request.state.caller = caller
    return caller


def caller_of(request: Request) -> Caller | None:
    """Return the caller that `signed_in` has found for this request; None if there is none."""
    return cast("Caller | None", getattr(request.state, "caller", None))


Authenticated: TypeAlias = Annotated[Caller, Depends(signed_in)]


async def inferring(caller: Authenticated) -> Caller:
    """Find the caller, who must be allowed to send requests to models.

    Raises:
        InvalidApiKey: there is no valid key or token.
        MissingScope: the key is not for that.

    """
    require_inference(caller)
    return caller


Inferring: TypeAlias = Annotated[Caller, Depends(inferring)]


async def managing(caller: Authenticated) -> Caller:
    """Find the caller, who must be allowed to change something of their own.

    Raises:
        InvalidApiKey: there is no valid key or token.
        MissingScope: the key is not for that.

    """
    require_manage(caller)
    return caller


Managing: TypeAlias = Annotated[Caller, Depends(managing)]


async def superuser(caller: Authenticated) -> Caller:
    """Find the caller, who must be a superuser.

    Raises:
        InvalidApiKey: there is no valid key or token.
        NotAllowed: the caller is an ordinary user.
        MissingScope: the superuser's key is an ordinary user's.

    """
    require_superuser(caller)
    return caller


Superuser: TypeAlias = Annotated[Caller, Depends(superuser)]


async def acting(request: Request, caller: Authenticated) -> Actor:
    """Find the caller, as the one who is written down for a change."""
    return await find_actor(request, caller)


Acting: TypeAlias = Annotated[Actor, Depends(acting)]


async def may_create_users(request: Request) -> Actor | None:
    """Admit every caller while sign-up is open, otherwise only superusers.

    Returns:
        The superuser; None for anybody else.

    Raises:
        InvalidApiKey, NotAllowed: sign-up is closed.

    """
    try:
        caller = await signed_in(request)
        require_superuser(caller)
    except (InvalidApiKey, NotAllowed):
        if not management_of(request).signup_open:
            raise
        return None
    return await find_actor(request, caller)
