"""Transfers: credits that move between the accounts of users and teams."""

from typing import Annotated, ClassVar, Final

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from tokenbalance.books.ledger.credits import NOTE_CHARS_MAX, Cause
from tokenbalance.books.ledger.transfers import transfer
from tokenbalance.people.teams.funds import require_transfer
from tokenbalance.web.api.balances import IdempotencyKey
from tokenbalance.web.api.bodies import Body, BodyReader
from tokenbalance.web.api.callers import Acting, Managing
from tokenbalance.web.api.fields import Amount, Id, Number
from tokenbalance.web.api.responses import (
    ENTRY_EXAMPLE,
    EntryResponse,
    entry_response,
    example,
)
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import management_of

transfers_router = api_router("Balances")

_ID: Final = "0b7c9a52-7a4e-4f0e-9a55-6a4a0f3c2d11"


class NewTransfer(Body):
    """Credits to move to another account."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"to_account_id": 9, "amount": 1000, "note": "May"}]}
    )

    to_account_id: Id = Field(description="The account that gets them; a team's is its id.")
    amount: Amount = Field(description="Credits; at least 1.")
    note: str = Field(default="", description=f"The reason; at most {NOTE_CHARS_MAX} characters.")


class TransferResponse(BaseModel):
    """Credits that were moved: the entry of each account."""

    model_config: ClassVar[ConfigDict] = example(
        id=_ID,
        sent={**ENTRY_EXAMPLE, "kind": "transfer", "amount": -1000, "note": "to account 9: May"},
        received={
            **ENTRY_EXAMPLE,
            "id": 42,
            "kind": "transfer",
            "balance_after": 1000,
            "note": "from account 7: May",
        },
    )

    id: str
    """That of both entries."""
    sent: EntryResponse
    received: EntryResponse


@transfers_router.post(
    "/accounts/{account_id}/transfers",
    status_code=201,
    summary="Move credits",
    responses={403: {}, 409: {}},
)
async def move(  # noqa: PLR0913, PLR0917 - what the path, the key, the header and the body say
    request: Request,
    caller: Managing,
    actor: Acting,
    account_id: Number,
    key: IdempotencyKey,
    body: Annotated[NewTransfer, Depends(BodyReader(NewTransfer))],
) -> TransferResponse:
    """Move credits to another account, once for each `Idempotency-Key` and sending account.

    You may give from your own account to a team that you belong to. Owners and admins of a team
    give from it to the accounts of its members, superusers from any account to any other.

    Credits with an end, and those that requests in flight hold, are not moved: more than the rest
    is refused, and nothing is moved then. What arrives has no end.
    """
    async with management_of(request).sessions.begin() as session:
        await require_transfer(session, caller, account_id, body.to_account_id)
        cause = Cause(actor, body.note)
        moved = await transfer(session, account_id, body.to_account_id, body.amount, cause, key)
    return TransferResponse(
        id=str(moved.sent.transfer_id),
        sent=entry_response(moved.sent),
        received=entry_response(moved.received),
    )
