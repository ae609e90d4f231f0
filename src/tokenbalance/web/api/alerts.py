"""What an account was told of, and the balances below which it is told so."""

from datetime import datetime
from typing import Annotated, ClassVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from tokenbalance.alerts.thresholds import THRESHOLDS_MAX, set_thresholds, thresholds_of
from tokenbalance.alerts.written import AlertRow, alerts_page
from tokenbalance.people.access import require_superuser
from tokenbalance.web.api.bodies import Body, BodyReader
from tokenbalance.web.api.callers import Acting, Authenticated, Managing
from tokenbalance.web.api.fields import (
    FIRST_PAGE,
    Amount,
    Cursor,
    Limit,
    SeenTeam,
    UserId,
    WholeTeam,
)
from tokenbalance.web.api.responses import PageResponse, example, page_response
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.api.seen import whole_account
from tokenbalance.web.context import management_of

alerts_router = api_router("Alerts")

OfOperator = Annotated[
    bool, Query(description="What is about the whole installation; superusers only.")
]


class AlertResponse(BaseModel):
    """Something that was told."""

    model_config: ClassVar[ConfigDict] = example(
        id=7,
        event="balance.low",
        data={"balance": 950, "below": 1000},
        created_at="2030-01-31T12:00:00Z",
    )

    id: int
    event: str
    data: dict[str, object]
    created_at: datetime


class Thresholds(Body):
    """Balances below which an alert is written."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"below": [1000, 1]}]}
    )

    below: list[Amount] = Field(
        max_length=THRESHOLDS_MAX, description="Credits; 1 is for an empty balance."
    )


class ThresholdsResponse(BaseModel):
    """Balances below which an alert is written, the highest first."""

    model_config: ClassVar[ConfigDict] = example(below=[1000, 1])

    below: list[int]


@alerts_router.get("/alerts", summary="Alerts")
async def list_alerts(  # noqa: PLR0913, PLR0917 - the query, field by field
    request: Request,
    caller: Authenticated,
    user_id: UserId = None,
    team_id: SeenTeam = None,
    operator: OfOperator = False,  # noqa: FBT002 - a field of the query
    limit: Limit = FIRST_PAGE,
    after: Cursor = None,
) -> PageResponse[AlertResponse]:
    """List what your account was told of, newest first, for 90 days; superusers may name a user.

    Members who do not see all of a team do not see its alerts.
    """
    async with management_of(request).sessions() as session:
        if operator:
            require_superuser(caller)
            account_id = None
        else:
            account_id = await whole_account(session, caller, user_id, team_id, "see_all")
        return page_response(await alerts_page(session, account_id, after, limit), _response)


@alerts_router.get("/alerts/thresholds", summary="Thresholds of the balance")
async def thresholds(
    request: Request, caller: Authenticated, user_id: UserId = None, team_id: SeenTeam = None
) -> ThresholdsResponse:
    """Return the balances below which your account, or a team, is told so."""
    async with management_of(request).sessions() as session:
        account_id = await whole_account(session, caller, user_id, team_id, "see_all")
        return ThresholdsResponse(below=await thresholds_of(session, account_id))


@alerts_router.put("/alerts/thresholds", summary="Set thresholds of the balance")
async def put_thresholds(  # noqa: PLR0913, PLR0917 - the query, field by field
    request: Request,
    caller: Managing,
    actor: Acting,
    body: Annotated[Thresholds, Depends(BodyReader(Thresholds))],
    user_id: UserId = None,
    team_id: WholeTeam = None,
) -> ThresholdsResponse:
    """Set the balances below which your account, or a team, is told so, in place of those it has.

    Each is told once, in the transaction that takes the balance below it, and again only after the
    balance was above it. A threshold that the balance is below already waits for that as well.
    """
    async with management_of(request).sessions.begin() as session:
        account_id = await whole_account(session, caller, user_id, team_id, "administer")
        below = await set_thresholds(session, account_id, body.below, actor)
        return ThresholdsResponse(below=below)


def _response(row: AlertRow) -> AlertResponse:
    return AlertResponse(
        id=row.id,
        event=row.event,
        data=dict(row.data),
        created_at=row.created_at,
    )
