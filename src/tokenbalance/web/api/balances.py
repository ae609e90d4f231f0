"""Balances and overdrafts: the caller's own; for superusers every user's, to read and to change."""

from typing import Annotated, ClassVar

from fastapi import Depends, Header, Request
from pydantic import ConfigDict, Field

from tokenbalance.books.grants.allowances import allowances_of
from tokenbalance.books.grants.issuing import grants_of
from tokenbalance.books.ledger.credits import (
    IDEMPOTENCY_KEY_CHARS_MAX,
    NOTE_CHARS_MAX,
    Cause,
    add_once,
    set_balance,
)
from tokenbalance.books.ledger.entries import Entry
from tokenbalance.books.ledger.overdrafts import set_balance_and_overdraft, set_overdraft
from tokenbalance.database.connections import Session
from tokenbalance.errors import MissingParameter
from tokenbalance.people.access import user_of
from tokenbalance.people.users import get_user
from tokenbalance.web.api.bodies import Body, BodyReader
from tokenbalance.web.api.callers import Acting, Authenticated, Superuser
from tokenbalance.web.api.domain import IDEMPOTENCY_HEADER
from tokenbalance.web.api.fields import Amount, Balance, Number
from tokenbalance.web.api.responses import (
    BalanceResponse,
    ChangedBalanceResponse,
    CreditsResponse,
    balance_response,
    changed_balance_response,
    entry_response,
)
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import management_of

balances_router = api_router("Balances")

_NOTE_DESCRIPTION = f"The reason; at most {NOTE_CHARS_MAX} characters."


class NewBalance(Body):
    """A balance to set, an overdraft, or both."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"balance": 30}]}
    )

    balance: Balance = Field(default=0, description="Credits; left out: stays as it is.")
    overdraft: Balance = Field(
        default=0,
        description="How far below zero requests may take the balance, in credits; left out: stays"
        " as it is.",
    )
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


@balances_router.get("/balance", summary="My balance", response_model_exclude_defaults=True)
async def own_balance(request: Request, caller: Authenticated) -> BalanceResponse:
    """Return your balance, how much of it requests in flight hold, and what is available."""
    return await _balance(request, user_of(caller))


@balances_router.get(
    "/balance/{user_id}", summary="A user's balance", response_model_exclude_defaults=True
)
async def balance_of(request: Request, _caller: Superuser, user_id: Number) -> BalanceResponse:
    """Return a user's balance, how much of it is held, and what is available."""
    return await _balance(request, user_id)


@balances_router.put(
    "/balance/{user_id}", summary="Set a user's balance", response_model_exclude_defaults=True
)
@balances_router.patch(
    "/balance/{user_id}", summary="Set a user's balance", response_model_exclude_defaults=True
)
async def set_balance_of(
    request: Request,
    _caller: Superuser,
    actor: Acting,
    user_id: Number,
    body: Annotated[NewBalance, Depends(BodyReader(NewBalance))],
) -> ChangedBalanceResponse:
    """Set a user's balance, overdraft, or both; at least one is required.

    The difference becomes a ledger entry. Credits that requests in flight hold are not taken:
    `kept_for_holds` says how many stayed. Set the balance again when those requests have ended.
    The overdraft cannot be lowered below what is overdrawn or held.

    Concurrent calls overwrite each other: to add credits, use
    `POST /api/balance/{user_id}/credits`. `PUT` and `PATCH` are the same.
    """
    async with management_of(request).sessions.begin() as session:
        user = await get_user(session, user_id)
        entry = await _set(session, user.account.id, body, Cause(actor, body.note))
        return changed_balance_response(await get_user(session, user_id), entry)


async def _balance(request: Request, user_id: int) -> BalanceResponse:
    """Read a balance, after what is due of its grants was entered."""
    async with management_of(request).sessions.begin() as session:
        account_id = (await get_user(session, user_id)).account.id
        grants = await grants_of(session, account_id)
        allowances = await allowances_of(session, account_id)
        return balance_response(await get_user(session, user_id), grants, allowances)


async def _set(session: Session, account_id: int, body: NewBalance, cause: Cause) -> Entry:
    """Set what the body names.

    Raises:
        MissingParameter: it names neither.

    """
    match "balance" in body.model_fields_set, "overdraft" in body.model_fields_set:
        case True, True:
            return await set_balance_and_overdraft(
                session, account_id, body.balance, body.overdraft, cause
            )
        case True, False:
            return await set_balance(session, account_id, body.balance, cause)
        case False, True:
            return await set_overdraft(session, account_id, body.overdraft, cause)
        case _:
            msg = "Missing required parameter: 'balance' or 'overdraft'."
            raise MissingParameter(msg, param="balance")


@balances_router.post(
    "/balance/{user_id}/credits",
    status_code=201,
    summary="Add credits",
    responses={409: {}},
    response_model_exclude_defaults=True,
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
    body it is refused (409). Credits that requests in flight hold are not taken: `kept_for_holds`
    says how many stayed.
    """
    async with management_of(request).sessions.begin() as session:
        user = await get_user(session, user_id)
        cause = Cause(actor, body.note)
        entry = await add_once(session, user.account.id, body.amount, cause, key)
    return CreditsResponse(
        entry=entry_response(entry),
        balance=entry.balance_after,
        kept_for_holds=entry.kept_for_holds,
    )
