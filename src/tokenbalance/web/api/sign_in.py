"""Sign-in: a token for an e-mail and a password."""

from typing import Annotated, ClassVar

from fastapi import Depends, Request
from pydantic import ConfigDict, SecretStr

from tokenbalance.people.sign_in import API_SIGN_IN, Attempt, sign_in
from tokenbalance.web.api.bodies import Body, BodyReader
from tokenbalance.web.api.responses import TokenResponse
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import address_of, management_of, user_agent_of

sign_in_router = api_router("Users")


class Credentials(Body):
    """E-mail and password."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"email": "ada@example.com", "password": "a long one"}]}
    )

    email: str
    password: SecretStr


@sign_in_router.post("/user/auth", summary="Sign in", responses={429: {}})
async def authenticate(
    request: Request, body: Annotated[Credentials, Depends(BodyReader(Credentials))]
) -> TokenResponse:
    """Get a token for an e-mail and a password; it works on `/api` and `/v1` for 30 days.

    After too many failures, wait as long as `Retry-After` says.
    """
    attempt = Attempt(
        email=body.email,
        password=body.password.get_secret_value(),
        address=address_of(request),
        user_agent=user_agent_of(request),
    )
    signed_in = await sign_in(
        management_of(request).sessions, attempt, API_SIGN_IN, management_of(request).key_limits
    )
    return TokenResponse(token=signed_in.secret, expires_at=signed_in.expires_at)
