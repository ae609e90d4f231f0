"""How often requests of an account were refused, by day, key and code."""

from datetime import date, datetime
from typing import ClassVar

from fastapi import Request
from pydantic import ConfigDict

from tokenbalance.books.reports import RefusalRow, refusals_page
from tokenbalance.web.api.callers import Authenticated
from tokenbalance.web.api.listing import Listing
from tokenbalance.web.api.responses import (
    WHOSE_EXAMPLE,
    KeyRefResponse,
    PageResponse,
    WhoseResponse,
    example,
    key_ref_response,
    page_response,
)
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.api.seen import seen_by
from tokenbalance.web.context import management_of

refused_router = api_router("Ledger and usage")


class RefusalResponse(WhoseResponse):
    """Requests of one day with one key that were refused with one code."""

    model_config: ClassVar[ConfigDict] = example(
        day="2030-01-31",
        key={"id": 3, "prefix": "sk-tb-Ab12Cd", "name": "laptop", "kind": "key"},
        code="insufficient_quota",
        count=12,
        last_at="2030-01-31T12:00:00Z",
        **WHOSE_EXAMPLE,
    )

    day: date
    """In UTC."""
    key: KeyRefResponse | None
    code: str
    """`error.code` of the refusals."""
    count: int
    last_at: datetime
    """When the last of them happened."""


@refused_router.get("/refusals", summary="Refusals")
async def list_refusals(
    request: Request, caller: Authenticated, listing: Listing
) -> PageResponse[RefusalResponse]:
    """Count your refused requests, or a team's, newest day first; a superuser may name a user.

    Counted are responses of this server with status 402, 403, 413 and 429 to requests under `/v1`
    with a valid key, a few seconds late. A day is counted as a whole if any of it lies in the
    period.
    """
    async with management_of(request).sessions() as session:
        seen = await seen_by(session, caller, listing.user_id, listing.team_id)
        page = await refusals_page(
            session, seen.account_id, listing.period, listing.after, listing.limit, seen.key_ids
        )
    return page_response(page, _respond)


def _respond(row: RefusalRow) -> RefusalResponse:
    return RefusalResponse(
        day=row.day,
        key=key_ref_response(row.key),
        code=row.code,
        count=row.count,
        last_at=row.last_at,
        user=row.user_id,
        email=row.email,
        team=row.team,
        account_id=row.account_id,
    )
