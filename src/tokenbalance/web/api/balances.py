"""Balances: one's own, and for superusers everybody's, set or added to."""

from typing import Annotated, ClassVar

from fastapi import Depends, Header, Request
from pydantic import ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from tokenbalance.books.ledger.credits import (
    IDEMPOTENCY_KEY_CHARS_MAX,
    NOTE_CHARS_MAX,
    Cause,
    add_once,
    set_balance,
)
from tokenbalance.model import Caller
from tokenbalance.people.users import get_user
from tokenbalance.web.api.bodies import Body, BodyReader
from tokenbalance.web.api.callers import Authenticated, Superuser
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

_NOTE_DESCRIPTION = f"Why; at most {NOTE_CHARS_MAX} characters."


class NewBalance(Body):
    """What a balance is to be."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"balance": 30}]}
    )

    balance: Balance = Field(description="Credits.")
    note: str = Field(default="", description=_NOTE_DESCRIPTION)


class Credits(Body):
    """Credits to be added, or taken away when negative."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"amount": 1000, "note": "May"}]}
    )

    amount: Amount = Field(description="Credits; negative takes away, 0 is refused.")
    note: str = Field(default="", description=_NOTE_DESCRIPTION)


IdempotencyKey = Annotated[
    str,
    Header(
        alias=IDEMPOTENCY_HEADER,
        min_length=1,
        max_length=IDEMPOTENCY_KEY_CHARS_MAX,
        description="Chosen by the client, once for each addition: repeating it adds nothing.",
    ),
]


@balances_router.get("/balance", summary="My balance")
async def own_balance(request: Request, caller: Authenticated) -> BalanceResponse:
    """Tell one's balance, what running requests hold of it, and what is available."""
    async with management_of(request).sessions() as session:
        return balance_response(await get_user(session, caller.user_id))


@balances_router.get("/balance/{user_id}", summary="A user's balance")
async def balance_of(request: Request, _caller: Superuser, user_id: Number) -> BalanceResponse:
    """Tell what a user has."""
    async with management_of(request).sessions() as session:
        return balance_response(await get_user(session, user_id))


@balances_router.put("/balance/{user_id}", summary="Set a user's balance")
@balances_router.patch("/balance/{user_id}", summary="Set a user's balance")
async def set_balance_of(
    request: Request,
    caller: Superuser,
    user_id: Number,
    body: Annotated[NewBalance, Depends(BodyReader(NewBalance))],
) -> BalanceResponse:
    """Make a balance what it should be; the ledger gets an entry of the difference.

    Two who set it at once overwrite each other: to add credits, use
    `POST /api/balance/{user_id}/credits`. `PUT` and `PATCH` are the same.
    """
    async with management_of(request).sessions.begin() as session:
        user = await get_user(session, user_id)
        cause = Cause(await _email_of(session, caller), body.note)
        await set_balance(session, user.account.id, body.balance, cause)
        return balance_response(user)


@balances_router.post(
    "/balance/{user_id}/credits", status_code=201, summary="Add credits", responses={409: {}}
)
async def add_credits(
    request: Request,
    caller: Superuser,
    user_id: Number,
    key: IdempotencyKey,
    body: Annotated[Credits, Depends(BodyReader(Credits))],
) -> CreditsResponse:
    """Add credits, or take some away, once for each `Idempotency-Key` and user.

    The same key with the same contents gives the same answer again and changes nothing; with
    others it is refused (409).
    """
    async with management_of(request).sessions.begin() as session:
        user = await get_user(session, user_id)
        cause = Cause(await _email_of(session, caller), body.note)
        entry = await add_once(session, user.account.id, body.amount, cause, key)
    return CreditsResponse(entry=entry_response(entry), balance=entry.balance_after)


async def _email_of(session: AsyncSession, caller: Caller) -> str:
    """Name who makes an entry."""
    return (await get_user(session, caller.user_id)).email
