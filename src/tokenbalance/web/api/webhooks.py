"""The addresses that alerts are sent to."""

from datetime import datetime
from typing import Annotated, ClassVar

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from tokenbalance.alerts.errors import UnknownWebhook
from tokenbalance.alerts.events import EVENTS
from tokenbalance.alerts.webhooks import (
    URL_CHARS_MAX,
    WebhookRow,
    account_of_webhook,
    make_webhook,
    remove_webhook,
    try_webhook,
    webhooks_of,
)
from tokenbalance.database.connections import Session
from tokenbalance.model import Caller
from tokenbalance.people.access import require_superuser
from tokenbalance.web.api.alerts import OfOperator
from tokenbalance.web.api.bodies import Body, BodyReader
from tokenbalance.web.api.callers import Acting, Authenticated, Managing
from tokenbalance.web.api.fields import Number, UserId, WholeTeam
from tokenbalance.web.api.responses import example
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.api.seen import administers, whole_account
from tokenbalance.web.context import management_of

webhooks_router = api_router("Webhooks")


class NewWebhook(Body):
    """An address to send alerts to."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={
            "examples": [{"url": "https://example.com/hook", "events": ["balance.low"]}]
        }
    )

    url: str = Field(
        max_length=URL_CHARS_MAX,
        description="`https://` or `http://`; private addresses only where the operator allows it.",
    )
    events: list[str] = Field(
        default=[],
        max_length=len(EVENTS),
        description=f"Which alerts; left out: all. Of {', '.join(EVENTS)}.",
    )
    operator: bool = Field(
        default=False,
        description="Alerts of all accounts and of the installation; superusers only.",
    )
    user_id: UserId = None
    team_id: WholeTeam = None


class WebhookResponse(BaseModel):
    """An address that alerts are sent to."""

    model_config: ClassVar[ConfigDict] = example(
        id=3,
        url="https://example.com/hook",
        events=["balance.low"],
        created_at="2030-01-31T12:00:00Z",
        last_delivery_at=None,
        problem=None,
    )

    id: int
    url: str
    events: list[str]
    """Empty: all."""
    created_at: datetime
    last_delivery_at: datetime | None
    """When the newest alert arrived, or was given up; null while it is on its way."""
    problem: str | None
    """Why the newest alert has not arrived."""


class NewWebhookResponse(WebhookResponse):
    """A new webhook, with its secret."""

    model_config: ClassVar[ConfigDict] = example(
        id=3,
        url="https://example.com/hook",
        events=["balance.low"],
        created_at="2030-01-31T12:00:00Z",
        last_delivery_at=None,
        problem=None,
        secret="whsec_...",  # noqa: S106 - an example
    )

    secret: str
    """Signs what is sent, after Standard Webhooks. It is shown only here."""


class WebhooksResponse(BaseModel):
    """All webhooks."""

    data: list[WebhookResponse]


class DoneResponse(BaseModel):
    """It was done."""

    model_config: ClassVar[ConfigDict] = example(id=3)

    id: int


@webhooks_router.get("/webhooks", summary="List webhooks")
async def list_webhooks(
    request: Request,
    caller: Authenticated,
    user_id: UserId = None,
    team_id: WholeTeam = None,
    operator: OfOperator = False,  # noqa: FBT002 - a field of the query
) -> WebhooksResponse:
    """List the addresses that your alerts are sent to; a superuser may name another user.

    Those of a team are listed and made by its owners and admins.
    """
    async with management_of(request).sessions() as session:
        owner = await _owner(session, caller, user_id, team_id, operator=operator)
        rows = await webhooks_of(session, owner)
    return WebhooksResponse(data=[_response(row) for row in rows])


@webhooks_router.post("/webhooks", status_code=201, summary="Create a webhook")
async def create_webhook(
    request: Request,
    caller: Managing,
    actor: Acting,
    body: Annotated[NewWebhook, Depends(BodyReader(NewWebhook))],
) -> NewWebhookResponse:
    """Send alerts to an address from now on; the response is the only one with its secret.

    Each alert is a `POST` of `{"type", "timestamp", "data"}`, signed after Standard Webhooks. What
    is not answered with 2xx is tried again for three days, with the same `webhook-id`.
    """
    async with management_of(request).sessions.begin() as session:
        owner = await _owner(session, caller, body.user_id, body.team_id, operator=body.operator)
        row, secret = await make_webhook(session, owner, body.url, body.events, actor=actor)
    return NewWebhookResponse(
        id=row.id,
        url=row.url,
        events=list(row.events),
        created_at=row.created_at,
        last_delivery_at=row.last_delivery_at,
        problem=row.problem,
        secret=secret,
    )


@webhooks_router.delete("/webhooks/{webhook_id}", summary="Remove a webhook")
async def delete_webhook(
    request: Request,
    caller: Managing,
    actor: Acting,
    webhook_id: Number,
) -> DoneResponse:
    """Send no more alerts to an address; what is on its way is given up.

    Removing it again changes nothing. Owners and admins of a team find its webhooks, and only
    superusers those of others.
    """
    async with management_of(request).sessions.begin() as session:
        await _require(session, caller, webhook_id)
        await remove_webhook(session, webhook_id, None, actor=actor)
    return DoneResponse(id=webhook_id)


@webhooks_router.post("/webhooks/{webhook_id}/test", status_code=202, summary="Try a webhook")
async def try_out(
    request: Request,
    caller: Managing,
    actor: Acting,
    webhook_id: Number,
) -> DoneResponse:
    """Send an alert of type `webhook.test` to an address."""
    async with management_of(request).sessions.begin() as session:
        await _require(session, caller, webhook_id)
        await try_webhook(session, webhook_id, None, actor=actor)
    return DoneResponse(id=webhook_id)


async def _require(session: Session, caller: Caller, webhook_id: int) -> None:
    """Require that the caller may change a webhook, which never changes hands."""
    account_id = await account_of_webhook(session, webhook_id)
    if not await administers(session, caller, account_id):
        raise UnknownWebhook(webhook_id)


async def _owner(
    session: Session, caller: Caller, user_id: int | None, team_id: int | None, *, operator: bool
) -> int | None:
    """Find whose webhooks are meant: an account's, or the operator's, which is None."""
    if operator:
        require_superuser(caller)
        return None
    return await whole_account(session, caller, user_id, team_id, "administer")


def _response(row: WebhookRow) -> WebhookResponse:
    return WebhookResponse(
        id=row.id,
        url=row.url,
        events=list(row.events),
        created_at=row.created_at,
        last_delivery_at=row.last_delivery_at,
        problem=row.problem,
    )
