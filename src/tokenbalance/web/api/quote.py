"""What a request would cost, asked beforehand."""

from typing import TYPE_CHECKING, Annotated, ClassVar, cast

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from tokenbalance.proxy.quote import Quotes
from tokenbalance.web.api.bodies import Body, BodyReader
from tokenbalance.web.api.callers import Authenticated
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import management_of
from tokenbalance.wire.client.request import BODY_BYTES_MAX

if TYPE_CHECKING:
    from tokenbalance.model import Document

quote_router = api_router("OpenAI")


class Asked(Body):
    """A request that is not sent."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "path": "/v1/chat/completions",
                    "body": {
                        "model": "gpt-4o-mini",
                        "messages": [{"role": "user", "content": "Say hello."}],
                        "max_completion_tokens": 100,
                    },
                }
            ]
        }
    )

    path: str = Field(description="Where it would be posted to: `/v1/...`.")
    body: dict[str, object] = Field(description="What would be posted.")


class QuoteResponse(BaseModel):
    """What the proxy would make of a request at this moment. Amounts are credits."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "endpoint": "/chat/completions",
                    "model": "gpt-4o-mini",
                    "input_tokens": 10,
                    "output_cap": 100,
                    "tool_calls_cap": None,
                    "choices": 1,
                    "hold": 110,
                    "minimum": 11,
                    "available": 1030,
                    "balance": 1030,
                    "held": 0,
                    "admitted": True,
                    "waits": False,
                    "capped": False,
                    "rates": None,
                }
            ]
        },
        from_attributes=True,
    )

    endpoint: str
    model: str | None
    input_tokens: int
    """The input at most, in tokens."""
    output_cap: int
    """Output tokens of each choice at most: its own limit, or what the balance affords."""
    tool_calls_cap: int | None
    """Calls at most of tools that the upstream runs itself; null where none can happen."""
    choices: int
    hold: int
    """What would be held."""
    minimum: int
    """With less than this it is refused."""
    available: int
    balance: int
    held: int
    admitted: bool
    """It would be sent upstream at once."""
    waits: bool
    """It would wait for other requests of its account, and then be sent; where they take longer
    than a request may wait, it is refused with 429 `balance_held`. Neither admitted nor waiting, it
    is refused with `insufficient_quota`."""
    capped: bool
    """The upstream would be told a lower limit than was asked for."""
    rates: dict[str, str] | None
    """Credits for one token of each kind, as exact decimals; null: every token is one credit."""


@quote_router.post("/quote", summary="What would it cost?", responses={403: {}, 404: {}})
async def quote_request(
    request: Request,
    caller: Authenticated,
    body: Annotated[Asked, Depends(BodyReader(Asked, BODY_BYTES_MAX))],
) -> QuoteResponse:
    """Tell what a request would hold, and whether it would be admitted now.

    Nothing is held, and nothing is dispatched.
    """
    management = management_of(request)
    quotes = Quotes(management.pool, management.rate_card, management.upstream, management.surface)
    found = await quotes.quote(caller, body.path, cast("Document", body.body))
    return QuoteResponse.model_validate(found)
