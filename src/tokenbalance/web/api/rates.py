"""Models and prices: what the rate card asks today, for everybody who is signed in."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import date
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

from fastapi import Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from tokenbalance.books.reports import csv_lines
from tokenbalance.books.reports.price_list import PRICE_COLUMNS, Price, PriceList, price_cells
from tokenbalance.model import Json
from tokenbalance.web.api.callers import Authenticated
from tokenbalance.web.api.csv import csv_documented, csv_response, prefers_csv
from tokenbalance.web.api.fields import FIRST_PAGE, Cursor, Limit, Text
from tokenbalance.web.api.responses import PageResponse, example, page_response
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import management_of

rates_router = api_router("Models and prices")

_ASKED: Final[dict[str, Json]] = {
    "models": ["gpt-6.2-sol*"],
    "valid_from": "2026-11-17",
    "rates": {"input": "2", "cached_input": "0.1", "cache_write": "2.5", "output": "10"},
    "long": {"above": 272_000, "input": "2", "output": "1.5"},
    "tiers": {"flex": "0.5", "priority": "2"},
    "calls": {"web_search": "10000", "code_interpreter": "30000"},
    "batch": "0.5",
    "windows": {},
    "region": None,
}
_NEXT: Final[dict[str, Json]] = {
    **_ASKED,
    "valid_from": "2027-01-01",
    "rates": {"input": "1.5", "cached_input": "0.1", "cache_write": "2", "output": "8"},
}
_PRICE: Final[dict[str, Json]] = {**_ASKED, "next": _NEXT}

_Model: TypeAlias = Annotated[
    Text | None,
    Query(
        description="Only the row that requests for this model are charged by; none if they are"
        " refused.",
        examples=["gpt-6.2-sol"],
    ),
]


class LongResponse(BaseModel):
    """What a request with a long input costs more: factors for all of it."""

    above: int
    """Tokens of input up to which it is not long."""
    input: str
    """The factor of what the input costs."""
    output: str
    """The factor of what the output costs."""


class AskedResponse(BaseModel):
    """What a row of the rate card asks. Rates and fees are credits, as exact decimals."""

    model_config: ClassVar[ConfigDict] = example(**_ASKED)

    models: list[str]
    """Patterns of model names with `*`, `?` and `[...]`; `*` alone for every model that no earlier
    row matches."""
    valid_from: date | None
    """The first day, in UTC, on which it applies; null: it always has."""
    rates: Mapping[str, str]
    """Credits for one unit of each kind, as exact decimals. Every kind of token is named; of other
    kinds, those that cost something, as `request`, which is charged once."""
    long: LongResponse | None
    """Null: the length of the input changes nothing."""
    tiers: Mapping[str, str]
    """Factors of what tokens cost, by the service tier of the response, as exact decimals or
    fractions such as `5/3`. A tier that is not named, except `auto`, `default` and `standard`,
    is refused."""
    calls: Mapping[str, str]
    """Credits for each call of a tool that the upstream runs, by its name, whatever the tier; of
    `code_interpreter` and `shell`, for each session."""
    batch: str | None
    """The factor of requests in batches; null: they cost the same."""
    windows: Mapping[str, str]
    """Factors by completion window of requests in the background."""
    region: str | None
    """The factor of the region of this server's upstream; null: none applies."""


class PriceResponse(AskedResponse):
    """A row of the rate card as it is today, and what follows it."""

    model_config: ClassVar[ConfigDict] = example(**_PRICE)

    next: AskedResponse | None
    """What replaces it on a later day; null: nothing so far."""


class RatesResponse(PageResponse[PriceResponse]):
    """A page of the rows of the rate card, in their order: the first that matches a model counts.

    Without a card there are no rows.
    """

    model_config: ClassVar[ConfigDict] = example(
        basis="card", unpriced="refuse", data=[_PRICE], has_more=False, next=None
    )

    basis: Literal["card", "token"]
    """`token`: there is no card, and every token of every model is one credit, as
    `usage.total_tokens` counts them."""
    unpriced: Literal["refuse", "default"] | None
    """What happens to a model that no row names: requests are refused, or charged by the last row.
    Null without a card."""


@rates_router.get(
    "/rates",
    summary="Models and prices",
    response_model=RatesResponse,
    responses=csv_documented(PRICE_COLUMNS),
)
async def list_rates(
    request: Request,
    _caller: Authenticated,
    model: _Model = None,
    limit: Limit = FIRST_PAGE,
    after: Cursor = None,
) -> RatesResponse | StreamingResponse:
    """Return what models cost today, as the rate card of this server says.

    `POST /api/quote` says what one request would cost at most. With `Accept: text/csv` all matching
    rows are returned as one file, each followed by the one that replaces it; `limit` and `after`
    are ignored.
    """
    prices = PriceList.today(management_of(request).rate_card)
    rows = prices.rows if model is None else prices.of(model)
    if prefers_csv(request):
        return await csv_response(csv_lines(PRICE_COLUMNS, _batches(rows)), "rates")
    page = page_response(prices.page(rows, after, limit), _price_response)
    return RatesResponse(
        basis="token" if prices.card is None else "card",
        unpriced=prices.unpriced,
        data=page.data,
        has_more=page.has_more,
        next=page.next,
    )


async def _batches(rows: Sequence[Price]) -> AsyncGenerator[list[list[str | int | None]]]:
    yield [price_cells(each) for row in rows for each in (row, row.next) if each is not None]


def _price_response(row: Price) -> PriceResponse:
    following = None if row.next is None else AskedResponse.model_validate(_asked(row.next))
    return PriceResponse.model_validate({**_asked(row), "next": following})


def _asked(row: Price) -> dict[str, object]:
    long = row.long
    return {
        "models": list(row.models),
        "valid_from": row.valid_from,
        "rates": row.rates,
        "long": long and {"above": long.above, "input": long.input, "output": long.output},
        "tiers": row.tiers,
        "calls": row.calls,
        "batch": row.batch,
        "windows": row.windows,
        "region": row.region,
    }
