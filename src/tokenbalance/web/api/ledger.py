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
    EntryResponse,
    PageResponse,
    entry_response,
    page_response,
)
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.api.subjects import account_of
from tokenbalance.web.context import management_of

ledger_router = api_router("Ledger and usage")

Order = Annotated[Literal["oldest", "newest"], Query(description="Which entries come first.")]


@ledger_router.get(
    "/ledger",
    summary="Ledger entries",
    response_model=PageResponse[EntryResponse],
    responses=csv_documented(ENTRY_COLUMNS),
)
async def list_entries(
    request: Request,
    caller: Authenticated,
    listing: Listing,
    order: Order = "oldest",
) -> PageResponse[EntryResponse] | StreamingResponse:
    """List the changes of your balance; a superuser may name another user.

    With `Accept: text/csv` all entries of the period are returned as one file, oldest first;
    `order`, `limit` and `after` are ignored.
    """
    sessions = management_of(request).sessions
    async with sessions() as session:
        account_id = await account_of(session, caller, listing.user_id)
        if not prefers_csv(request):
            query = EntryQuery(account_id, period=listing.period, newest_first=order == "newest")
            page = await entries_page(session, query, listing.after, listing.limit)
            return page_response(page, entry_response)
    batches = export_entries(sessions, listing.period, account_id)
    return await csv_response(csv_lines(ENTRY_COLUMNS, batches), "ledger")
