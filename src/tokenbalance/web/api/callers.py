"""The caller of a management route: a stranger, a user, or a superuser.

Only identifies the caller; `people.access` decides what a role may do.
"""

from typing import Annotated, TypeAlias, cast

from fastapi import Depends, Request

from tokenbalance.errors import InvalidApiKey, NotAllowed
from tokenbalance.model import Caller
from tokenbalance.people.access import require_inference, require_manage, require_superuser
from tokenbalance.people.callers import authenticate
from tokenbalance.web.context import management_of


async def signed_in(request: Request) -> Caller:
    """Find the caller by the key or sign-in token of the request.

    Raises:
        InvalidApiKey: there is no valid one.

    """
    headers = cast("list[tuple[bytes, bytes]]", request.scope["headers"])
    return await authenticate(management_of(request).pool, headers)


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


async def may_create_users(request: Request) -> bool:
    """Admit every caller while sign-up is open, otherwise only superusers.

    Returns:
        Whether the caller is a superuser.

    Raises:
        InvalidApiKey, NotAllowed: sign-up is closed.

    """
    try:
        require_superuser(await signed_in(request))
    except (InvalidApiKey, NotAllowed):
        if not management_of(request).signup_open:
            raise
        return False
    return True
