"""Balances and overdrafts: those that the caller sees; for superusers all, also to change."""

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
from tokenbalance.model import Caller
from tokenbalance.people.account_limits import get_account
from tokenbalance.people.teams.funds import funds_seen_by
from tokenbalance.people.users import get_user
from tokenbalance.web.api.bodies import Body, BodyReader
from tokenbalance.web.api.callers import Acting, Authenticated, Superuser
from tokenbalance.web.api.domain import IDEMPOTENCY_HEADER
from tokenbalance.web.api.fields import Amount, Balance, Number
from tokenbalance.web.api.payers import PATHS, FindPayer, Payer
from tokenbalance.web.api.responses import (
    AccountBalanceResponse,
    BalanceResponse,
    ChangedAccountBalanceResponse,
    ChangedBalanceResponse,
    CreditsResponse,
    account_balance_response,
    balance_response,
    changed_account_balance_response,
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
async def own_balance(
    request: Request, caller: Authenticated
) -> BalanceResponse | AccountBalanceResponse:
    """Return your balance, how much of it requests in flight hold, and what is available.

    With a key of a team: that of the team, with `account_id` and `team` instead of `user`.
    """
    if caller.is_of_team or caller.user_id is None:
        return await _balance_of_account(request, caller, caller.account_id)
    return await _balance(request, caller.user_id)


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


@balances_router.get(
    "/accounts/{account_id}/balance",
    summary="An account's balance",
    response_model_exclude_defaults=True,
)
async def balance_of_account(
    request: Request, caller: Authenticated, account_id: Number
) -> AccountBalanceResponse:
    """Return the balance of your account, or of a team that you belong to.

    Superusers find every account.
    """
    return await _balance_of_account(request, caller, account_id)


@balances_router.put(
    "/accounts/{account_id}/balance",
    summary="Set an account's balance",
    response_model_exclude_defaults=True,
)
@balances_router.patch(
    "/accounts/{account_id}/balance",
    summary="Set an account's balance",
    response_model_exclude_defaults=True,
)
async def set_balance_of_account(
    request: Request,
    _caller: Superuser,
    actor: Acting,
    account_id: Number,
    body: Annotated[NewBalance, Depends(BodyReader(NewBalance))],
) -> ChangedAccountBalanceResponse:
    """Set the balance, the overdraft, or both, of a user's account or a team.

    As `PUT /api/balance/{user_id}` does.
    """
    async with management_of(request).sessions.begin() as session:
        found = await get_account(session, account_id)
        entry = await _set(session, found.id, body, Cause(actor, body.note))
        account = await get_account(session, account_id)
        return changed_account_balance_response(account, entry.kept_for_holds)


async def _balance_of_account(
    request: Request, caller: Caller, account_id: int
) -> AccountBalanceResponse:
    """Read the balance of an account that the caller sees, after what is due was entered."""
    async with management_of(request).sessions.begin() as session:
        _ = await funds_seen_by(session, caller, account_id)
        grants = await grants_of(session, account_id)
        allowances = await allowances_of(session, account_id)
        account = await get_account(session, account_id)
        return account_balance_response(account, grants, allowances)


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


def _serve_credits(path: str, find_payer: FindPayer) -> None:
    """Serve the route that adds credits, below the path of who gets them."""

    @balances_router.post(
        f"{path}/credits",
        status_code=201,
        summary="Add credits",
        responses={409: {}},
        response_model_exclude_defaults=True,
    )
    async def add_credits(
        request: Request,
        actor: Acting,
        payer: Annotated[Payer, Depends(find_payer)],
        key: IdempotencyKey,
        body: Annotated[Credits, Depends(BodyReader(Credits))],
    ) -> CreditsResponse:
        """Add credits, or take credits away, once for each `Idempotency-Key` and account.

        The same key with the same body returns the same response and changes nothing; with another
        body it is refused (409). Credits that requests in flight hold are not taken:
        `kept_for_holds` says how many stayed.
        """
        async with management_of(request).sessions.begin() as session:
            account_id = await payer.find(session)
            cause = Cause(actor, body.note)
            entry = await add_once(session, account_id, body.amount, cause, key)
        return CreditsResponse(
            entry=entry_response(entry),
            balance=entry.balance_after,
            kept_for_holds=entry.kept_for_holds,
        )


for _path, _find_payer in PATHS:
    _serve_credits(_path, _find_payer)
