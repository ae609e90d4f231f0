"""Grants and allowances of users and teams, for superusers."""

from datetime import datetime
from typing import Annotated, ClassVar, Final

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from tokenbalance.books.grants.allowances import (
    AllowanceRow,
    NewAllowance,
    allowances_of,
    change,
    create,
    remove,
)
from tokenbalance.books.grants.burning import PRIORITY
from tokenbalance.books.grants.calendar import Every
from tokenbalance.books.grants.issuing import PRIORITY_MAX, GrantRow, NewGrant, grants_of, issue
from tokenbalance.books.ledger.credits import NOTE_CHARS_MAX, Cause
from tokenbalance.model import Json
from tokenbalance.web.api.balances import IdempotencyKey
from tokenbalance.web.api.bodies import Body, BodyReader, ChangesBody
from tokenbalance.web.api.callers import Acting
from tokenbalance.web.api.fields import Amount, Balance, Moment, Number
from tokenbalance.web.api.payers import PATHS, FindPayer, Payer
from tokenbalance.web.api.responses import (
    ENTRY_EXAMPLE,
    EntryResponse,
    entry_response,
    example,
)
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import management_of

grants_router = api_router("Balances")

_NOTE: Final = f"The reason; at most {NOTE_CHARS_MAX} characters."
_GRANT_EXAMPLE: Final[dict[str, Json]] = {
    "id": 41,
    "amount": 1000,
    "remaining": 400,
    "priority": 50,
    "expires_at": "2030-07-01T00:00:00Z",
    "created_at": "2030-01-31T12:00:00Z",
    "allowance_id": None,
    "note": "May",
}


class Grant(Body):
    """Credits to grant."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"amount": 1000, "expires_at": "2030-07-01"}]}
    )

    amount: Amount = Field(description="Credits; at least 1.")
    expires_at: Moment | None = Field(
        default=None,
        description="Requests that begin at or after it cannot spend them; null: they have no end.",
    )
    priority: int = Field(
        default=PRIORITY,
        ge=0,
        le=PRIORITY_MAX,
        description="A lower one is spent first; of equal ones that which ends first.",
    )
    note: str = Field(default="", description=_NOTE)


class Allowance(Body):
    """A rule that issues credits each period."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"amount": 20_000, "every": "week"}]}
    )

    amount: Amount = Field(description="Credits each period; at least 1.")
    every: Every = Field(
        description="In the account's time zone: from midnight, from Monday, or from the 1st."
    )
    starts_at: Moment | None = Field(
        default=None,
        description="From when on, and from when periods are counted; null: now, and they are those"
        " of the calendar.",
    )
    rollover_max: Balance = Field(
        default=0, description="Credits that are carried over into the next period at most."
    )
    ends_at: Moment | None = Field(
        default=None, description="No period that begins at or after it is issued."
    )
    note: str = Field(default="", description=_NOTE)


class AllowanceChanges(ChangesBody):
    """Changes of an allowance, from its next period on."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"amount": 25_000}]}
    )

    amount: Amount = Field(default=0, description="Credits each period; at least 1.")
    rollover_max: Balance = Field(
        default=0, description="Credits that are carried over into the next period at most."
    )
    ends_at: Moment | None = Field(
        default=None, description="No period that begins at or after it is issued; null: no end."
    )


class GrantResponse(BaseModel):
    """A grant, and what remains of it."""

    model_config: ClassVar[ConfigDict] = example(**_GRANT_EXAMPLE)

    id: int
    """That of its ledger entry."""
    amount: int
    remaining: int
    priority: int
    expires_at: datetime | None
    created_at: datetime
    allowance_id: int | None
    """The allowance that has issued it."""
    note: str


class GrantsResponse(BaseModel):
    """What remains of an account's grants."""

    model_config: ClassVar[ConfigDict] = example(data=[_GRANT_EXAMPLE])

    data: list[GrantResponse]
    """First what is spent first. Empty while the balance is one grant without an end."""


class GrantedResponse(BaseModel):
    """A new grant: its ledger entry, and the balance after it."""

    model_config: ClassVar[ConfigDict] = example(
        entry={**ENTRY_EXAMPLE, "kind": "grant"}, balance=1030
    )

    entry: EntryResponse
    """Its id is that of the grant."""
    balance: int
    """Right after the entry, also in the response to a retry."""


class AllowanceResponse(BaseModel):
    """A rule that issues credits each period."""

    model_config: ClassVar[ConfigDict] = example(
        id=3,
        amount=20_000,
        every="week",
        starts_at=None,
        ends_at=None,
        rollover_max=0,
        next_at="2030-02-04T00:00:00Z",
        created_at="2030-01-31T12:00:00Z",
        created_by="admin@example.com",
        note="course",
    )

    id: int
    amount: int
    every: Every
    starts_at: datetime | None
    ends_at: datetime | None
    rollover_max: int
    next_at: datetime | None
    """When it issues the next grant; null: never again."""
    created_at: datetime
    created_by: str
    note: str


class AllowancesResponse(BaseModel):
    """The allowances of an account."""

    data: list[AllowanceResponse]


def _serve_grants(path: str, find_payer: FindPayer) -> None:
    """Serve the routes of grants, below the path of whose they are."""

    @grants_router.post(
        f"{path}/grants", status_code=201, summary="Grant credits", responses={409: {}}
    )
    async def make_grant(
        request: Request,
        actor: Acting,
        payer: Annotated[Payer, Depends(find_payer)],
        key: IdempotencyKey,
        body: Annotated[Grant, Depends(BodyReader(Grant))],
    ) -> GrantedResponse:
        """Grant credits that may have an end, once for each `Idempotency-Key` and account.

        Credits are spent by priority, then those that end first, then the oldest. What remains at
        the end is taken, except what requests hold that began before.
        """
        async with management_of(request).sessions.begin() as session:
            account_id = await payer.find(session)
            new = NewGrant(amount=body.amount, expires_at=body.expires_at, priority=body.priority)
            entry = await issue(session, account_id, new, Cause(actor, body.note), key)
        return GrantedResponse(entry=entry_response(entry), balance=entry.balance_after)

    @grants_router.get(f"{path}/grants", summary="An account's grants")
    async def list_grants(
        request: Request, payer: Annotated[Payer, Depends(find_payer)]
    ) -> GrantsResponse:
        """List what remains of an account's grants, first what is spent first."""
        async with management_of(request).sessions.begin() as session:
            account_id = await payer.find(session)
            rows = await grants_of(session, account_id)
        return GrantsResponse(data=[_grant(row) for row in rows])


def _serve_allowances(path: str, find_payer: FindPayer) -> None:
    """Serve the routes of allowances, below the path of whose they are."""

    @grants_router.post(f"{path}/allowances", status_code=201, summary="Create an allowance")
    async def make_allowance(
        request: Request,
        actor: Acting,
        payer: Annotated[Payer, Depends(find_payer)],
        body: Annotated[Allowance, Depends(BodyReader(Allowance))],
    ) -> AllowanceResponse:
        """Issue credits each day, week or month; the current period at once.

        They end with their period, except what is carried over. After an outage of several periods
        only the current one is issued.
        """
        async with management_of(request).sessions.begin() as session:
            account_id = await payer.find(session)
            new = NewAllowance(
                amount=body.amount,
                every=body.every,
                starts_at=body.starts_at,
                ends_at=body.ends_at,
                rollover_max=body.rollover_max,
            )
            return _allowance(await create(session, account_id, new, Cause(actor, body.note)))

    @grants_router.get(f"{path}/allowances", summary="An account's allowances")
    async def list_allowances(
        request: Request, payer: Annotated[Payer, Depends(find_payer)]
    ) -> AllowancesResponse:
        """List an account's allowances, the oldest first."""
        async with management_of(request).sessions() as session:
            account_id = await payer.find(session)
            rows = await allowances_of(session, account_id)
        return AllowancesResponse(data=[_allowance(row) for row in rows])

    @grants_router.patch(path + "/allowances/{allowance_id}", summary="Change an allowance")
    async def change_allowance(
        request: Request,
        actor: Acting,
        payer: Annotated[Payer, Depends(find_payer)],
        allowance_id: Number,
        body: Annotated[AllowanceChanges, Depends(BodyReader(AllowanceChanges))],
    ) -> AllowanceResponse:
        """Change an allowance from its next period on; what it has issued stays as it is."""
        given: dict[str, int | datetime | None] = {
            name: value
            for name, value in (
                ("amount", body.amount),
                ("rollover_max", body.rollover_max),
                ("ends_at", body.ends_at),
            )
            if name in body.model_fields_set
        }
        async with management_of(request).sessions.begin() as session:
            account_id = await payer.find(session)
            return _allowance(await change(session, account_id, allowance_id, given, Cause(actor)))

    @grants_router.delete(path + "/allowances/{allowance_id}", summary="Remove an allowance")
    async def remove_allowance(
        request: Request,
        actor: Acting,
        payer: Annotated[Payer, Depends(find_payer)],
        allowance_id: Number,
    ) -> AllowanceResponse:
        """Remove an allowance: it issues nothing any more; what it has issued stays."""
        async with management_of(request).sessions.begin() as session:
            account_id = await payer.find(session)
            return _allowance(await remove(session, account_id, allowance_id, Cause(actor)))


for _path, _find_payer in PATHS:
    _serve_grants(_path, _find_payer)
    _serve_allowances(_path, _find_payer)


def _grant(row: GrantRow) -> GrantResponse:
    return GrantResponse(
        id=row.id,
        amount=row.amount,
        remaining=row.remaining,
        priority=row.priority,
        expires_at=row.expires_at,
        created_at=row.created_at,
        allowance_id=row.allowance_id,
        note=row.note,
    )


def _allowance(row: AllowanceRow) -> AllowanceResponse:
    return AllowanceResponse(
        id=row.id,
        amount=row.amount,
        every=row.every,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        rollover_max=row.rollover_max,
        next_at=row.next_at,
        created_at=row.created_at,
        created_by=row.created_by,
        note=row.note,
    )
