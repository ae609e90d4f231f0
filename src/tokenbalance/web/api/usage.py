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
    NEWEST_KINDS,
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
from tokenbalance.web.api.seen import seen_by
from tokenbalance.web.context import management_of

usage_router = api_router("Ledger and usage")

_NUMBERS: Final = ("total", "charge", "overrun", "estimated")
CSV_COLUMNS: Final = (
    *("day", "user_id", "user", "key_id", "key_name", "model", "requests"),
    *FIRST_KINDS,
    *_NUMBERS,
    OTHERS,
    *LATER_KINDS,
    "team",
    *NEWEST_KINDS,
)
_NAMES: Final = ", ".join(group.value for group in Group)


class _Group(BaseModel):
    """What is summed."""

    day: date | None
    """In UTC, when requests were charged."""
    user: int | None
    """Who answers for the keys; null for the service keys of a team, too."""
    email: str | None
    """Theirs; empty if nobody does."""
    team: str | None
    """The name of the team that pays; empty: a personal account. By user only, as `account_id`."""
    account_id: int | None
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
                    "email": None,
                    "team": None,
                    "account_id": None,
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
        description="Any of `day`, `key`, `model`, and `user` for superusers and for who sees all"
        " of a team; separated by commas.",
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
    """Sum up tokens and credits of your requests, or a team's; a superuser may name another user.

    By `user`, the usage of a team is that of the members who answer for its keys, one of whom may
    be nobody. A superuser who groups by `user` and names neither a user nor a team gets everybody,
    or those who have `tag`.
    With `Accept: text/csv` all groups are returned as one file; `limit` and `after` are ignored.
    """
    groups = frozenset(Group(name) for name in group_by.split(","))
    sessions = management_of(request).sessions
    async with sessions() as session:
        if tag:
            query = await _of_tag(session, caller, listing, tag, groups)
        else:
            query = await _of_account(session, caller, listing, groups)
        if not prefers_csv(request):
            page = await usage_by(session, query, listing.after, listing.limit)
            return page_response(page, _respond)
    return await csv_response(csv_lines(CSV_COLUMNS, _batches(sessions, query)), "usage")


async def _of_tag(
    session: Session, caller: Caller, listing: Listing, tag: str, groups: frozenset[Group]
) -> UsageQuery:
    require_superuser(caller)
    for param in ("user_id", "team_id"):
        if getattr(listing, param) is not None:
            msg = f"Invalid '{param}': leave it out, or 'tag'."
            raise InvalidValue(msg, param=param)
    among = await accounts_of_tag(session, tag)
    return UsageQuery(None, groups, listing.period, among)


async def _of_account(
    session: Session, caller: Caller, listing: Listing, groups: frozenset[Group]
) -> UsageQuery:
    """Sum up the usage of an account, or of all accounts if none is named."""
    by_user = Group.USER in groups
    if by_user and listing.team_id is None:
        require_superuser(caller)
        if listing.user_id is None:
            return UsageQuery(None, groups, listing.period)
    right = "see_all" if by_user else "see"
    seen = await seen_by(session, caller, listing.user_id, listing.team_id, right=right)
    return UsageQuery(seen.account_id, groups, listing.period, key_ids=seen.key_ids)


def _respond(row: UsageRow) -> UsageResponse:
    sums = row.sums
    document = {
        "day": row.day,
        "user": row.user_id,
        "email": row.email,
        "team": row.team,
        "account_id": row.account_id,
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
        row.team,
        *(used[kind] for kind in NEWEST_KINDS),
    )
