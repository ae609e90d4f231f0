"""Usage of an account by day, key and model: as pages of JSON, or as one CSV file."""

from collections.abc import AsyncGenerator
from datetime import date
from operator import attrgetter
from typing import Annotated, ClassVar, Final, cast

from fastapi import Query, Request
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

from tokenbalance.books.reports import (
    FIRST_KINDS,
    LATER_KINDS,
    OTHERS,
    Group,
    UsageQuery,
    UsageRow,
    csv_lines,
    others_cell,
    usage_by,
)
from tokenbalance.database.connections import Session, Sessions
from tokenbalance.database.paging import PAGE_ROWS_MAX
from tokenbalance.errors import InvalidValue
from tokenbalance.model import Caller
from tokenbalance.people.access import require_superuser
from tokenbalance.people.tags import accounts_of_tag
from tokenbalance.web.api.callers import Authenticated
from tokenbalance.web.api.csv import csv_documented, csv_response, prefers_csv
from tokenbalance.web.api.fields import Text
from tokenbalance.web.api.listing import Listing
from tokenbalance.web.api.quantities import quantities_of, with_quantities
from tokenbalance.web.api.responses import (
    KeyRefResponse,
    PageResponse,
    key_ref_response,
    page_response,
)
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.api.subjects import account_of
from tokenbalance.web.context import management_of

usage_router = api_router("Ledger and usage")

_NUMBERS: Final = ("total", "charge", "overrun", "estimated")
CSV_COLUMNS: Final = (
    *("day", "user_id", "user", "key_id", "key_name", "model", "requests"),
    *FIRST_KINDS,
    *_NUMBERS,
    OTHERS,
    *LATER_KINDS,
)
_NAMES: Final = ", ".join(group.value for group in Group)


class _Group(BaseModel):
    """What is summed."""

    day: date | None
    """In UTC, when requests were charged."""
    user: int | None
    key: KeyRefResponse | None
    model: str | None
    requests: int


class UsageResponse(with_quantities(_Group)):
    """One group of usage. Columns it is not grouped by are null."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "day": "2030-01-31",
                    "user": None,
                    "key": None,
                    "model": "gpt-4o-mini",
                    **quantities_of({"input": 18, "output": 6}),
                    "requests": 2,
                    "total": 24,
                    "charge": 24,
                    "overrun": 0,
                    "estimated": 0,
                }
            ]
        },
    )

    total: int
    """Total tokens as the upstream reported them."""
    charge: int
    """Credits."""
    overrun: int
    """Credits by which charges were more than their holds."""
    estimated: int
    """Charges that are estimates."""


def _known_groups(value: str) -> str:
    names = value.split(",")
    if len(set(names)) != len(names) or not {*names} <= {*Group}:
        kind = "value_error"
        message = f"one or more of {_NAMES} are expected, separated by commas, each once"
        raise PydanticCustomError(kind, message)
    return value


GroupBy = Annotated[
    str,
    Query(
        description="Any of `day`, `key`, `model`, for superusers `user`; separated by commas.",
        examples=["day,model"],
    ),
    AfterValidator(_known_groups),
]


@usage_router.get(
    "/usage",
    summary="Usage",
    response_model=PageResponse[UsageResponse],
    responses=csv_documented(CSV_COLUMNS),
)
async def list_usage(
    request: Request,
    caller: Authenticated,
    listing: Listing,
    group_by: GroupBy = Group.DAY,
    tag: Annotated[
        Text, Query(description="Superusers: all users who have this tag, together.")
    ] = "",
) -> PageResponse[UsageResponse] | StreamingResponse:
    """Sum up tokens and credits of your requests; a superuser may name another user.

    A superuser who groups by `user` without naming one gets all users, or those who have `tag`.
    With `Accept: text/csv` all groups are returned as one file; `limit` and `after` are ignored.
    """
    groups = frozenset(Group(name) for name in group_by.split(","))
    sessions = management_of(request).sessions
    async with sessions() as session:
        if tag:
            query = await _of_tag(session, caller, listing, tag, groups)
        else:
            account_id = await _account_of(session, caller, listing.user_id, groups)
            query = UsageQuery(account_id, groups, listing.period)
        if not prefers_csv(request):
            page = await usage_by(session, query, listing.after, listing.limit)
            return page_response(page, _respond)
    return await csv_response(csv_lines(CSV_COLUMNS, _batches(sessions, query)), "usage")


async def _of_tag(
    session: Session, caller: Caller, listing: Listing, tag: str, groups: frozenset[Group]
) -> UsageQuery:
    require_superuser(caller)
    if listing.user_id is not None:
        msg = "Invalid 'user_id': leave it out, or 'tag'."
        raise InvalidValue(msg, param="user_id")
    among = await accounts_of_tag(session, tag)
    return UsageQuery(None, groups, listing.period, among)


async def _account_of(
    session: Session, caller: Caller, user_id: int | None, groups: frozenset[Group]
) -> int | None:
    """Return the account whose usage is summed up; None: all accounts."""
    if Group.USER not in groups:
        return await account_of(session, caller, user_id)
    require_superuser(caller)
    return None if user_id is None else await account_of(session, caller, user_id)


def _respond(row: UsageRow) -> UsageResponse:
    sums = row.sums
    document = {
        "day": row.day,
        "user": row.user_id,
        "key": key_ref_response(row.key),
        "model": row.model,
        "requests": sums.requests,
        **quantities_of(sums.quantities),
        "total": sums.total,
        "charge": sums.charge,
        "overrun": sums.overrun,
        "estimated": sums.estimated,
    }
    return UsageResponse.model_validate(document)


async def _batches(
    sessions: Sessions, query: UsageQuery
) -> AsyncGenerator[list[tuple[str | int | None, ...]]]:
    """Read all groups, page by page; no connection is held between pages."""
    after: str | None = None
    while True:
        async with sessions() as session:
            page = await usage_by(session, query, after, PAGE_ROWS_MAX)
        yield [_cells(row) for row in page.data]
        if (after := page.next) is None:
            return


def _cells(row: UsageRow) -> tuple[str | int | None, ...]:
    key = row.key
    sums = row.sums
    used = quantities_of(sums.quantities)
    return (
        row.day.isoformat() if row.day else None,
        row.user_id,
        row.email,
        key.id if key else None,
        key.name if key else None,
        row.model,
        sums.requests,
        *(used[kind] for kind in FIRST_KINDS),
        *cast("tuple[int, ...]", attrgetter(*_NUMBERS)(sums)),
        others_cell(used),
        *(used[kind] for kind in LATER_KINDS),
    )
