"""A quote: what a request would cost, before it is sent."""

from typing import TYPE_CHECKING, Annotated, ClassVar, cast

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from tokenbalance.proxy.quote import Quotes
from tokenbalance.web.api.bodies import Body, BodyReader
from tokenbalance.web.api.callers import Inferring
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import management_of
from tokenbalance.wire.client.request import BODY_BYTES_MAX

if TYPE_CHECKING:
    from tokenbalance.model import Document

quote_router = api_router("OpenAI")


class Asked(Body):
    """A request to quote; it is not sent."""

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

    path: str = Field(description="The path of the request: `/v1/...`.")
    body: dict[str, object] = Field(description="The body of the request.")


class AssumptionResponse(BaseModel):
    """Something that a hold covers, and that may not happen."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "service_tier",
                    "text": "With service_tier `priority` the request may be served at a tier that"
                    " costs 2 times as much.",
                    "credits": 55,
                    "factor": "2",
                }
            ]
        },
        from_attributes=True,
    )

    name: str
    """`tool_calls`, `tool_fees`, `image_tool`, `search_fee`, `stored_context`, `token_kinds`,
    `cache_lifetime`, `service_tier`, `long_context` or `surcharge`; there may be more later."""
    text: str
    """One sentence for people."""
    credits: int
    """By so many credits the hold is larger than without it."""
    factor: str | None
    """What it multiplies the cost of tokens by, as a decimal or `5/3`; null: it adds to it."""


class LimitResponse(BaseModel):
    """What a counted limit has left."""

    model_config: ClassVar[ConfigDict] = ConfigDict(from_attributes=True)

    name: str
    """Subject and limit, such as `key.tokens_per_minute`."""
    unit: str
    """`requests`, `tokens`, `credits`, or `holds` for requests in progress."""
    amount: int
    """The limit."""
    remaining: int
    """What a request could take now."""


class QuoteResponse(BaseModel):
    """What the proxy would do with a request now. Amounts are credits."""

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
                    "assumptions": [],
                    "limit": None,
                    "retry_after_ms": None,
                    "limits": [
                        {
                            "name": "key.tokens_per_minute",
                            "unit": "tokens",
                            "amount": 20000,
                            "remaining": 19400,
                        }
                    ],
                }
            ]
        },
        from_attributes=True,
    )

    endpoint: str
    model: str | None
    input_tokens: int
    """Ceiling of the input, in tokens."""
    output_cap: int
    """Ceiling of the output of a choice, in tokens: its own limit, or what the balance affords."""
    tool_calls_cap: int | None
    """Most calls of tools that the upstream runs itself; null if there can be none."""
    choices: int
    hold: int
    """Credits that would be held."""
    minimum: int
    """With fewer credits it is refused."""
    available: int
    balance: int
    held: int
    admitted: bool
    """It would be sent upstream at once."""
    waits: bool
    """It would wait for other requests of its account, and then be sent; if they take longer than a
    request may wait, it is refused with 429 `balance_held`. If it is neither admitted nor waits, it
    is refused with `insufficient_quota`."""
    capped: bool
    """The output limit sent upstream would be lower than the requested one."""
    rates: dict[str, str] | None
    """Credits per token by kind, as exact decimals; null: every token is one credit."""
    assumptions: list[AssumptionResponse]
    """What makes it dear to cover the request, the dearest first. They overlap: the sum may be more
    than what could be saved."""
    limit: str | None
    """The limit that would refuse it, or else the one that would lower its output, such as
    `key.tokens_per_minute`; null: none would."""
    retry_after_ms: int | None
    """After which time that limit would let it pass; null: it would not refuse it, or never lets it
    pass, or does so when requests in progress have ended."""
    limits: list[LimitResponse]
    """What the counted limits of the key have left."""


@quote_router.post("/quote", summary="Quote a request", responses={403: {}, 404: {}})
async def quote_request(
    request: Request,
    caller: Inferring,
    body: Annotated[Asked, Depends(BodyReader(Asked, BODY_BYTES_MAX))],
) -> QuoteResponse:
    """Return what a request would hold, and whether it would be admitted now.

    Nothing is held, and nothing is sent upstream.
    """
    management = management_of(request)
    quotes = Quotes(management.pool, management.rate_card, management.upstream, management.surface)
    found = await quotes.quote(caller, body.path, cast("Document", body.body))
    return QuoteResponse.model_validate(found)
