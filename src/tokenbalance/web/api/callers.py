"""Who calls a management route: nobody, somebody who is signed in, or a superuser.

Only finds out; what a role may do is decided in `access.py`.
"""

from typing import Annotated, TypeAlias, cast

from fastapi import Depends, Request

from tokenbalance.errors import InvalidApiKey, NotAllowed
from tokenbalance.model import Caller
from tokenbalance.people.access import require_superuser
from tokenbalance.people.callers import authenticate
from tokenbalance.web.context import management_of


async def signed_in(request: Request) -> Caller:
    """Find the caller by the key or sign-in token of the request.

    Raises:
        InvalidApiKey: there is none, or none that is valid now.

    """
    headers = cast("list[tuple[bytes, bytes]]", request.scope["headers"])
    return await authenticate(management_of(request).pool, headers)


Authenticated: TypeAlias = Annotated[Caller, Depends(signed_in)]


async def superuser(caller: Authenticated) -> Caller:
    """Find the caller, who must be allowed to manage others.

    Raises:
        InvalidApiKey: as for everybody.
        NotAllowed: an ordinary user.

    """
    require_superuser(caller)
    return caller


Superuser: TypeAlias = Annotated[Caller, Depends(superuser)]


async def may_create_users(request: Request) -> bool:
    """Let anybody through while sign-up is open, else superusers only.

    Returns:
        Whether a superuser asks.

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
