"""Reports on the books: entries, requests, usage, the overview, and exports. Writes nothing.

    entries       what changed balances
    requests      requests with their hold, usage and charge; newest first
    request_rows  one of them, from an open hold or from the ledger
    explanation   everything that made one charge what it is
    finding       a request by its id, or the beginning of it
    refusals      how often requests were refused, by day, key and code
    grouped       usage by day, user, key and model
    overview      the state of everything, for operators
    open_holds    the holds of requests in flight, and who looks after them
    export        all rows of a period, in batches without a connection held between them
    lines         such batches as CSV or JSON Lines
    price_list    what the rate card asks today

Except exports and `open_holds`, each function works in the caller's session and reads in one
statement, or in several that cannot contradict each other. Lists are pages that begin after a
cursor. All rows are frozen.
"""

from tokenbalance.books.reports.entries import EntryQuery, EntryRow, entries, entries_page
from tokenbalance.books.reports.explanation import (
    Explanation,
    UnknownRequest,
    explain,
    unknown_request,
)
from tokenbalance.books.reports.export import (
    ENTRY_COLUMNS,
    FIRST_KINDS,
    LATER_KINDS,
    NEWEST_KINDS,
    OTHERS,
    USAGE_COLUMNS,
    count_usage,
    export_entries,
    export_usage,
    others_cell,
)
from tokenbalance.books.reports.finding import (
    AmbiguousRequestId,
    InvalidRequestId,
    find_request,
)
from tokenbalance.books.reports.grouped import UsageQuery, UsageRow, all_usage_by, usage_by
from tokenbalance.books.reports.groups import Group
from tokenbalance.books.reports.lines import csv_lines, json_lines
from tokenbalance.books.reports.open_holds import OpenHolds, open_holds
from tokenbalance.books.reports.overview import DayTotals, Overview, TopModel, TopUser, overview
from tokenbalance.books.reports.period import EVER, Period
from tokenbalance.books.reports.refusals import (
    RefusalRow,
    RefusedToday,
    refusals_page,
    refused_today,
)
from tokenbalance.books.reports.request_rows import KeyRef, RequestRow
from tokenbalance.books.reports.requests import RequestQuery, requests_page
from tokenbalance.books.reports.sums import Sums
from tokenbalance.database.tables import ENTRY_KINDS, HOLD_STATES

__all__ = [
    "ENTRY_COLUMNS",
    "ENTRY_KINDS",
    "EVER",
    "FIRST_KINDS",
    "HOLD_STATES",
    "LATER_KINDS",
    "NEWEST_KINDS",
    "OTHERS",
    "USAGE_COLUMNS",
    "AmbiguousRequestId",
    "DayTotals",
    "EntryQuery",
    "EntryRow",
    "Explanation",
    "Group",
    "InvalidRequestId",
    "KeyRef",
    "OpenHolds",
    "Overview",
    "Period",
    "RefusalRow",
    "RefusedToday",
    "RequestQuery",
    "RequestRow",
    "Sums",
    "TopModel",
    "TopUser",
    "UnknownRequest",
    "UsageQuery",
    "UsageRow",
    "all_usage_by",
    "count_usage",
    "csv_lines",
    "entries",
    "entries_page",
    "explain",
    "export_entries",
    "export_usage",
    "find_request",
    "json_lines",
    "open_holds",
    "others_cell",
    "overview",
    "refusals_page",
    "refused_today",
    "requests_page",
    "unknown_request",
    "usage_by",
]
