"""The ledger of an account, as pages of JSON or as one CSV file."""

from typing import Annotated, Literal

from fastapi import Query, Request
from fastapi.responses import StreamingResponse

from tokenbalance.books.reports import (
    ENTRY_COLUMNS,
    EntryQuery,
    csv_lines,
    entries_page,
    export_entries,
)
from tokenbalance.web.api.callers import Authenticated
from tokenbalance.web.api.csv import csv_documented, csv_response, prefers_csv
from tokenbalance.web.api.listing import Listing
from tokenbalance.web.api.responses import (
    OwnedEntryResponse,
    PageResponse,
    owned_entry_response,
    page_response,
)
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.api.seen import seen_by
from tokenbalance.web.context import management_of

ledger_router = api_router("Ledger and usage")

Order = Annotated[Literal["oldest", "newest"], Query(description="Which entries come first.")]


@ledger_router.get(
    "/ledger",
    summary="Ledger entries",
    response_model=PageResponse[OwnedEntryResponse],
    responses=csv_documented(ENTRY_COLUMNS),
)
async def list_entries(
    request: Request,
    caller: Authenticated,
    listing: Listing,
    order: Order = "oldest",
) -> PageResponse[OwnedEntryResponse] | StreamingResponse:
    """List the changes of your balance, or of a team's; a superuser may name another user.

    A member who does not see all of a team gets the charges and refunds of their own requests.

    With `Accept: text/csv` all entries of the period are returned as one file, oldest first;
    `order`, `limit` and `after` are ignored.
    """
    sessions = management_of(request).sessions
    async with sessions() as session:
        seen = await seen_by(session, caller, listing.user_id, listing.team_id)
        if not prefers_csv(request):
            query = EntryQuery(
                seen.account_id,
                period=listing.period,
                newest_first=order == "newest",
                key_ids=seen.key_ids,
            )
            page = await entries_page(session, query, listing.after, listing.limit)
            return page_response(page, owned_entry_response)
    batches = export_entries(sessions, listing.period, seen.account_id, seen.key_ids)
    return await csv_response(csv_lines(ENTRY_COLUMNS, batches), "ledger")
