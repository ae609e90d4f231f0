"""Requests that an account made through the proxy, and the explanation of one charge."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

from fastapi import Depends, Path, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from tokenbalance.books.pricing.bill import BillLine
from tokenbalance.books.pricing.rates import rates_document
from tokenbalance.books.reports import (
    USAGE_COLUMNS,
    Explanation,
    RequestQuery,
    RequestRow,
    csv_lines,
    explain,
    export_usage,
    requests_page,
    unknown_request,
)
from tokenbalance.model import Json, Usage
from tokenbalance.web.api.callers import Authenticated
from tokenbalance.web.api.csv import csv_documented, csv_response, prefers_csv
from tokenbalance.web.api.fields import Number, Text
from tokenbalance.web.api.listing import Listing
from tokenbalance.web.api.quantities import quantities_of, with_quantities
from tokenbalance.web.api.responses import (
    ENTRY_EXAMPLE,
    WHOSE_EXAMPLE,
    EntryResponse,
    KeyRefResponse,
    PageResponse,
    WhoseResponse,
    entry_response,
    example,
    key_ref_response,
    page_response,
)
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.api.seen import finds_request, seen_by
from tokenbalance.web.context import management_of

requests_router = api_router("Ledger and usage")

_REQUEST_EXAMPLE: Final[dict[str, Json]] = {
    "request_id": "tb_018d5f0a1b2c00000000000000000000",
    **WHOSE_EXAMPLE,
    "created_at": "2030-01-31T12:00:00Z",
    "arrived_at": "2030-01-31T12:00:00Z",
    "ended_at": "2030-01-31T12:00:02Z",
    "state": "settled",
    "endpoint": "/chat/completions",
    "model": "gpt-4o-mini",
    "key": {"id": 3, "prefix": "sk-tb-Ab12Cd", "name": "laptop", "kind": "key"},
    "hold": 59,
    "usage": {**quantities_of({"input": 9, "output": 3}), "total": 12},
    "charge": 12,
    "overrun": 0,
    "estimated": False,
    "corrected_at": None,
    "rates": None,
    "upstream_status": 200,
    "error_code": None,
    "upstream_request_id": "req_0123456789abcdef0123456789abcdef",
    "first_byte_ms": 812,
    "total_ms": 1290,
    "streamed": False,
    "output_cap": 50,
    "capped": False,
}
_CHARGE_EXAMPLE: Final[dict[str, Json]] = {
    **ENTRY_EXAMPLE,
    "kind": "charge",
    "amount": -12,
    "balance_after": 18,
    "request_id": _REQUEST_EXAMPLE["request_id"],
    "actor": "proxy",
    "note": "",
}

HoldState: TypeAlias = Literal["open", "settled", "voided", "expired"]
"""`HOLD_STATES`, as a type."""
_State: TypeAlias = Annotated[
    HoldState | None,
    Query(description="Only requests whose hold is in this state."),
]
_Model: TypeAlias = Annotated[Text | None, Query(description="Only requests for this model.")]
_KeyId: TypeAlias = Annotated[Number | None, Query(description="Only requests made with this key.")]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which requests are listed."""

    state: _State = None
    model: _Model = None
    key_id: _KeyId = None


class TokensResponse(with_quantities(BaseModel)):
    """Tokens by kind, as the upstream reported them."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    total: int


class RequestDetails(WhoseResponse):
    """One request with its hold, usage and charge."""

    model_config: ClassVar[ConfigDict] = example(**_REQUEST_EXAMPLE)

    request_id: str
    created_at: datetime
    """As `arrived_at`; in the CSV file it is the end."""
    arrived_at: datetime
    """When its hold was placed."""
    ended_at: datetime | None
    """When it was charged or voided; null while the hold is open."""
    state: str
    """State of the hold: open, settled, voided or expired."""
    endpoint: str
    model: str | None
    key: KeyRefResponse | None
    hold: int
    """Reserved credits."""
    usage: TokensResponse | None
    """Null while the hold is open, or if nothing was used."""
    charge: int | None
    """Credits; null while the hold is open, or if nothing was charged."""
    overrun: int
    """Credits by which the charge was more than the hold."""
    estimated: bool
    """The upstream reported no usage, and tokens were counted instead."""
    corrected_at: datetime | None
    """When the true usage replaced an estimate."""
    rates: dict[str, str] | None
    """Credits per unit by kind, as exact decimals, before factors; fees of tools as
    `call:web_search`. Null: every token is one credit."""
    upstream_status: int | None
    """Of the upstream's response; null while the hold is open, and if there was none."""
    error_code: str | None
    """The upstream's `error.code`, or its type; this server's own where the upstream did not
    respond."""
    upstream_request_id: str | None
    """The upstream's `x-request-id`."""
    first_byte_ms: int | None
    """From the arrival of the request at this server to that of the head of the upstream's
    response."""
    total_ms: int | None
    """From the arrival of the request at this server to its charge, or to its end without one."""
    streamed: bool | None
    """A stream was asked for."""
    output_cap: int | None
    """Output tokens of each choice, the limit that was sent to the upstream; null: none was."""
    capped: bool | None
    """That limit is as low as it is because the balance did not cover more."""


class EstimateResponse(BaseModel):
    """Tokens that the hold covered."""

    input: int
    """Ceiling of the input."""
    output: int
    """Ceiling of all choices together, as requested."""


class QuantityResponse(BaseModel):
    """How much of one kind was used."""

    kind: str
    label: str
    """The kind, for people."""
    number: int
    """As the upstream reported it: input and output include their other kinds."""


class LineResponse(BaseModel):
    """The cost of one kind: of tokens, calls of a tool or other units, or of the request itself."""

    kind: str
    label: str
    """The kind, for people."""
    tokens: int
    """How many; each token is counted once."""
    rate: str
    """Credits per unit, as an exact decimal."""
    factor: str
    """What multiplies it: the product of `factors`, for tokens of the request's own model."""
    credits: str
    """Number times rate times factor: an exact decimal, or a fraction such as `5/3`."""
    model: str | None
    """The model whose rate it is, if not the request's own: that of an image tool, say."""


class FactorResponse(BaseModel):
    """Why tokens cost more or less than their rates say."""

    label: str
    """The reason, for people: the service tier, a long input, a batch."""
    input: str
    """What multiplies the cost of the input: an exact decimal, or a fraction such as `5/3`."""
    output: str
    """The same for the output."""


class ExplanationResponse(RequestDetails):
    """A charge explained: the lines add up to the sum; the charge is sum plus rounding."""

    model_config: ClassVar[ConfigDict] = example(
        **_REQUEST_EXAMPLE,
        estimate={"input": 9, "output": 50},
        tier_asked=None,
        tier_served=None,
        quantities=[
            {"kind": "input", "label": "Input tokens", "number": 9},
            {"kind": "output", "label": "Output tokens", "number": 3},
        ],
        lines=[
            {
                "kind": "total",
                "label": "Tokens, all kinds",
                "tokens": 12,
                "rate": "1",
                "factor": "1",
                "credits": "12",
                "model": None,
            }
        ],
        factors=[],
        sum="12",
        rounding="0",
        entries=[_CHARGE_EXAMPLE],
        cost=12,
        notes=[],
    )

    estimate: EstimateResponse
    tier_asked: str | None
    """The service tier in the request; null: none, `auto`, `default` or `standard`, or no card."""
    tier_served: str | None
    """The service tier in the response; null: none, or one that does not change the charge."""
    quantities: list[QuantityResponse]
    """What was used, by kind."""
    lines: list[LineResponse]
    """Empty if nothing was charged."""
    factors: list[FactorResponse]
    """What the factors of the lines are made of; empty: all are 1."""
    sum: str
    """Credits: an exact decimal, or a fraction such as `5/3`."""
    rounding: str
    """Added by rounding up, as `sum`."""
    entries: list[EntryResponse]
    """The charge, its correction and refunds, oldest first."""
    cost: int
    """Credits that it cost after corrections and refunds."""
    notes: list[str]
    """Sentences for people: why it cost nothing, that its price was corrected, and when."""


@requests_router.get(
    "/requests",
    summary="Requests",
    response_model=PageResponse[RequestDetails],
    responses=csv_documented(USAGE_COLUMNS),
)
async def list_requests(
    request: Request,
    caller: Authenticated,
    listing: Listing,
    only: Annotated[Filter, Depends()],
) -> PageResponse[RequestDetails] | StreamingResponse:
    """List your requests, or a team's, newest first; a superuser may name another user.

    A page may be shorter than its limit without being the last: see `has_more`. With
    `Accept: text/csv` all charged requests of the period are returned as one file, oldest first;
    all parameters except `user_id`, `team_id`, `since` and `until` are ignored.
    """
    sessions = management_of(request).sessions
    async with sessions() as session:
        seen = await seen_by(session, caller, listing.user_id, listing.team_id)
        if not prefers_csv(request):
            query = RequestQuery(
                seen.account_id,
                only.state,
                only.model,
                only.key_id,
                listing.period,
                key_ids=seen.key_ids,
            )
            page = await requests_page(session, query, listing.after, listing.limit)
            return page_response(page, _respond)
    batches = export_usage(sessions, listing.period, seen.account_id, key_ids=seen.key_ids)
    return await csv_response(csv_lines(USAGE_COLUMNS, batches), "requests")


@requests_router.get("/requests/{request_id}", summary="Explain a charge")
async def explain_request(
    request: Request,
    caller: Authenticated,
    request_id: Annotated[str, Path(description="As in `x-tokenbalance-request-id`.")],
) -> ExplanationResponse:
    """Explain one request: estimate, hold, usage by kind, rates, factors, fees, rounding, charge.

    You find your own, and those of a team that you see in its list; superusers find all.
    """
    async with management_of(request).sessions() as session:
        explanation = await explain(session, request_id)
        if not await finds_request(session, caller, explanation.request):
            raise unknown_request(request_id)
    return _explanation(explanation)


def _respond(row: RequestRow) -> RequestDetails:
    trace = row.trace
    return RequestDetails(
        request_id=row.request_id,
        user=row.user_id,
        email=row.email,
        team=row.team,
        account_id=row.account_id,
        created_at=row.created_at,
        arrived_at=row.created_at,
        ended_at=row.ended_at,
        state=row.state,
        endpoint=row.endpoint,
        model=row.model,
        key=key_ref_response(row.key),
        hold=row.hold,
        usage=None if row.usage is None else _tokens(row.usage),
        charge=row.charge,
        overrun=row.overrun,
        estimated=row.estimated,
        corrected_at=row.corrected_at,
        rates=None if row.rates is None else rates_document(row.rates),
        upstream_status=trace.upstream_status,
        error_code=trace.error_code,
        upstream_request_id=trace.upstream_request_id,
        first_byte_ms=trace.first_byte_ms,
        total_ms=trace.total_ms,
        streamed=trace.streamed,
        output_cap=trace.output_cap,
        capped=trace.capped,
    )


def _tokens(usage: Usage) -> TokensResponse:
    document = {**quantities_of(usage.quantities), "total": usage.total}
    return TokensResponse.model_validate(document)


def _explanation(found: Explanation) -> ExplanationResponse:
    bill = found.bill
    document = {
        **_respond(found.request).model_dump(),
        "estimate": {
            "input": found.request.estimated_input,
            "output": found.request.estimated_output,
        },
        "tier_asked": found.tier_asked,
        "tier_served": found.tier_served,
        "quantities": [asdict(each) for each in found.quantities],
        "lines": [_line(line, found) for line in bill.lines] if bill else [],
        "factors": [asdict(factor) for factor in bill.factors] if bill else [],
        "sum": bill.sum if bill else "0",
        "rounding": bill.rounding if bill else "0",
        "entries": [entry_response(entry) for entry in found.entries],
        "cost": found.cost,
        "notes": found.notes,
    }
    return ExplanationResponse.model_validate(document)


def _line(line: BillLine, found: Explanation) -> dict[str, object]:
    return {**asdict(line), "model": found.models.get(line.kind)}
