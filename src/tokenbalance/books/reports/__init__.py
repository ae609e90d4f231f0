"""The books, read for people: entries, requests, usage, the overview, and exports. Writes nothing.

    entries       what changed balances
    requests      what was asked for, with hold, usage and charge; newest first
    explanation   everything that made one charge what it is
    grouped       usage by day, user, key and model
    overview      the state of everything, for those who run it
    export        all rows of a period, in batches without a connection held between them
    lines         such batches as CSV or JSON Lines

Each function but an export works in the caller's session and answers in one statement, or in
several that cannot contradict each other. Lists are pages that begin after a cursor.
"""

from tokenbalance.books.reports.entries import EntryQuery, EntryRow, entries, entries_page
from tokenbalance.books.reports.explanation import Explanation, UnknownRequest, explain
from tokenbalance.books.reports.export import (
    ENTRY_COLUMNS,
    USAGE_COLUMNS,
    count_usage,
    export_entries,
    export_usage,
)
from tokenbalance.books.reports.grouped import UsageQuery, UsageRow, usage_by
from tokenbalance.books.reports.groups import Group
from tokenbalance.books.reports.lines import csv_lines, json_lines
from tokenbalance.books.reports.overview import DayTotals, Overview, TopModel, TopUser, overview
from tokenbalance.books.reports.period import EVER, Period
from tokenbalance.books.reports.requests import KeyRef, RequestQuery, RequestRow, requests_page
from tokenbalance.books.reports.sums import Sums

__all__ = [
    "ENTRY_COLUMNS",
    "EVER",
    "USAGE_COLUMNS",
    "DayTotals",
    "EntryQuery",
    "EntryRow",
    "Explanation",
    "Group",
    "KeyRef",
    "Overview",
    "Period",
    "RequestQuery",
    "RequestRow",
    "Sums",
    "TopModel",
    "TopUser",
    "UnknownRequest",
    "UsageQuery",
    "UsageRow",
    "count_usage",
    "csv_lines",
    "entries",
    "entries_page",
    "explain",
    "export_entries",
    "export_usage",
    "json_lines",
    "overview",
    "requests_page",
    "usage_by",
]
