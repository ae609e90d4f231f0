"""Balances: the caller's own; for superusers every user's, to read, set or add to."""

from typing import Annotated, ClassVar

from fastapi import Depends, Header, Request
from pydantic import ConfigDict, Field

from tokenbalance.books.ledger.credits import (
    IDEMPOTENCY_KEY_CHARS_MAX,
    NOTE_CHARS_MAX,
    Cause,
    add_once,
    set_balance,
)
from tokenbalance.people.users import get_user
from tokenbalance.web.api.bodies import Body, BodyReader
from tokenbalance.web.api.callers import Acting, Authenticated, Superuser
from tokenbalance.web.api.domain import IDEMPOTENCY_HEADER
from tokenbalance.web.api.fields import Amount, Balance, Number
from tokenbalance.web.api.responses import (
    BalanceResponse,
    CreditsResponse,
    balance_response,
    entry_response,
)
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import management_of

balances_router = api_router("Balances")

_NOTE_DESCRIPTION = f"The reason; at most {NOTE_CHARS_MAX} characters."


class NewBalance(Body):
    """A balance to set."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"balance": 30}]}
    )

    balance: Balance = Field(description="Credits.")
    note: str = Field(default="", description=_NOTE_DESCRIPTION)


class Credits(Body):
    """Credits to add; negative to take credits away."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"amount": 1000, "note": "May"}]}
    )

    amount: Amount = Field(description="Credits; negative takes credits away. 0 is refused.")
    note: str = Field(default="", description=_NOTE_DESCRIPTION)


IdempotencyKey = Annotated[
    str,
    Header(
        alias=IDEMPOTENCY_HEADER,
        min_length=1,
        max_length=IDEMPOTENCY_KEY_CHARS_MAX,
        description="Chosen by the client, unique for each addition: a retry adds nothing.",
    ),
]


@balances_router.get("/balance", summary="My balance")
async def own_balance(request: Request, caller: Authenticated) -> BalanceResponse:
    """Return your balance, how much of it requests in flight hold, and what is available."""
    async with management_of(request).sessions() as session:
        return balance_response(await get_user(session, caller.user_id))


@balances_router.get("/balance/{user_id}", summary="A user's balance")
async def balance_of(request: Request, _caller: Superuser, user_id: Number) -> BalanceResponse:
    """Return a user's balance, how much of it is held, and what is available."""
    async with management_of(request).sessions() as session:
        return balance_response(await get_user(session, user_id))


@balances_router.put("/balance/{user_id}", summary="Set a user's balance")
@balances_router.patch("/balance/{user_id}", summary="Set a user's balance")
async def set_balance_of(
    request: Request,
    _caller: Superuser,
    actor: Acting,
    user_id: Number,
    body: Annotated[NewBalance, Depends(BodyReader(NewBalance))],
) -> BalanceResponse:
    """Set a user's balance; the difference becomes a ledger entry.

    Concurrent calls overwrite each other: to add credits, use
    `POST /api/balance/{user_id}/credits`. `PUT` and `PATCH` are the same.
    """
    async with management_of(request).sessions.begin() as session:
        user = await get_user(session, user_id)
        await set_balance(session, user.account.id, body.balance, Cause(actor, body.note))
        return balance_response(await get_user(session, user_id))


@balances_router.post(
    "/balance/{user_id}/credits", status_code=201, summary="Add credits", responses={409: {}}
)
async def add_credits(
    request: Request,
    _caller: Superuser,
    actor: Acting,
    user_id: Number,
    key: IdempotencyKey,
    body: Annotated[Credits, Depends(BodyReader(Credits))],
) -> CreditsResponse:
    """Add credits, or take credits away, once for each `Idempotency-Key` and user.

    The same key with the same body returns the same response and changes nothing; with another
    body it is refused (409).
    """
    async with management_of(request).sessions.begin() as session:
        user = await get_user(session, user_id)
        cause = Cause(actor, body.note)
        entry = await add_once(session, user.account.id, body.amount, cause, key)
    return CreditsResponse(entry=entry_response(entry), balance=entry.balance_after)
