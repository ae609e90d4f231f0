"""Sign-in tokens: list and end them. With a sign-in token only: a leaked key must not end them."""

from datetime import datetime
from typing import Annotated, ClassVar, Literal, TypeAlias, cast

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict

from tokenbalance.model import Caller
from tokenbalance.people.access import require_sign_in
from tokenbalance.people.sign_in_tokens import TokenRow, end_token_by_id, tokens_page
from tokenbalance.web.api.callers import Authenticated
from tokenbalance.web.api.fields import FIRST_PAGE, Cursor, Limit, Number, UserId
from tokenbalance.web.api.responses import PageResponse, example, page_response
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.api.subjects import account_of
from tokenbalance.web.context import management_of

tokens_router = api_router("Users")


async def _with_sign_in(caller: Authenticated) -> Caller:
    require_sign_in(caller)
    return caller


_SignedIn: TypeAlias = Annotated[Caller, Depends(_with_sign_in)]


class SignInTokenResponse(BaseModel):
    """A sign-in token without its secret."""

    model_config: ClassVar[ConfigDict] = example(
        id=12,
        created_at="2030-01-31T12:00:00Z",
        expires_at="2030-02-01T00:00:00Z",
        last_used_at="2030-01-31T12:30:00Z",
        via="browser",
        agent="Firefox on Linux",
        address="203.0.113.7",
        is_current=True,
    )

    id: int
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    via: Literal["browser", "api"] | None
    """How it was issued; null for tokens from before this was recorded."""
    agent: str
    """Program and system, as the client named them; empty if unknown."""
    address: str
    """The IP address of the sign-in; empty if unknown."""
    is_current: bool
    """It is the token of this request."""


@tokens_router.get("/tokens", summary="List sign-in tokens", responses={403: {}})
async def list_tokens(
    request: Request,
    caller: _SignedIn,
    user_id: UserId = None,
    limit: Limit = FIRST_PAGE,
    after: Cursor = None,
) -> PageResponse[SignInTokenResponse]:
    """List the sign-in tokens that work, newest first; a superuser may name another user.

    Requires a sign-in token.
    """
    async with management_of(request).sessions() as session:
        account_id = await account_of(session, caller, user_id)
        page = await tokens_page(session, account_id, after, limit)
    return page_response(page, lambda token: _response(token, caller))


@tokens_router.delete("/tokens/{token_id}", summary="End a sign-in token", responses={403: {}})
async def end(
    request: Request, caller: _SignedIn, token_id: Number, user_id: UserId = None
) -> SignInTokenResponse:
    """End a sign-in token at once; a superuser may name another user, whose token it is.

    Requires a sign-in token, which may be the one to end.
    """
    async with management_of(request).sessions.begin() as session:
        account_id = await account_of(session, caller, user_id)
        return _response(await end_token_by_id(session, token_id, account_id), caller)


def _response(token: TokenRow, caller: Caller) -> SignInTokenResponse:
    device = token.device
    return SignInTokenResponse(
        id=token.id,
        created_at=token.created_at,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
        via=cast('Literal["browser", "api"]', device.via) if device else None,
        agent=device.agent if device else "",
        address=device.address if device else "",
        is_current=token.id == caller.key_id,
    )
