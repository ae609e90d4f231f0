"""What a request would cost, asked beforehand: nothing is held, nothing is dispatched.

Reads a request exactly as the proxy does, and looks at the account once. It must never place a
hold or promise anything: what is true now may not be when the request comes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.books.ledger.book import Book
from tokenbalance.books.pricing.rates import paid_for, rates_document
from tokenbalance.errors import InvalidJson, RequestTooLarge
from tokenbalance.model import OPENAI
from tokenbalance.openai import SURFACE
from tokenbalance.proxy.admission import claim_of
from tokenbalance.proxy.reading import (
    counted,
    is_ample,
    model_of,
    path_below_prefix,
    rates_of,
    read_request,
)
from tokenbalance.wire.client.request import BODY_BYTES_MAX

if TYPE_CHECKING:
    from tokenbalance.books.ledger.book import Funds
    from tokenbalance.books.pricing.rate_card import RateCard
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Caller, Document, Estimate, Rates, UpstreamTraits
    from tokenbalance.openai import Surface
    from tokenbalance.openai.operation import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What the proxy would make of a request at this moment. Amounts are credits."""

    endpoint: str
    """Below `/v1`, as OpenAI's reference writes it."""
    model: str | None
    input_tokens: int
    """Tokens at most of its input."""
    output_cap: int
    """Tokens at most of each choice: its own limit, or the lower one that the balance affords."""
    tool_calls_cap: int | None
    """Calls at most of tools that the upstream runs itself; None where none can happen."""
    choices: int
    hold: int
    """Credits that would be held: what covers it, or all that the balance affords. What would cover
    it where the balance does not even afford the minimum."""
    minimum: int
    """Credits below which it is refused: its input and the smallest output."""
    available: int
    balance: int
    held: int
    admitted: bool
    """It would be sent upstream at once."""
    waits: bool
    """It would have to wait for other requests of its account first, as long as a request may, and
    then be refused as one whose balance is held. Neither admitted nor waiting, it is refused as one
    that the balance does not cover."""
    capped: bool
    """The upstream would be told a lower limit than was asked for."""
    rates: dict[str, str] | None
    """Credits for one token of each kind (and for the request), as exact decimals; None where every
    token is one credit, or nothing is charged."""


@dataclass(frozen=True, slots=True)
class Quotes:
    """What a quote is made from: the books, what tokens cost, what requests are bounded for."""

    pool: Pool
    rate_card: RateCard | None = None
    """None: every token is one credit."""
    upstream: UpstreamTraits = OPENAI
    surface: Surface = SURFACE

    async def quote(self, caller: Caller, path: str, body: bytes | Document) -> Quote:
        """Tell what a POST of `body` to `path` (`/v1/...`) would hold, and if it is admitted.

        Nothing is held, and nothing is dispatched. As in the proxy, the input is counted where the
        account comes near to what is held, and bounded by its bytes where it affords it many times.

        Raises:
            UnknownUrl, EndpointNotAllowed: as the proxy says of that path.
            InvalidRequest, ModelNotFound, ServiceTierNotAllowed: as the proxy says of that body.

        """
        raw_path, _, query = path.encode("ascii", "replace").partition(b"?")
        endpoint = self.surface.find("POST", path_below_prefix(raw_path), query)
        document, bound = read_request(endpoint, _as_bytes(body), self.upstream)
        book = Book(self.pool)
        if not endpoint.charged:
            return _free(endpoint, document, bound, await book.funds(caller.account_id))
        rates = rates_of(self.rate_card, document)
        funds = await book.funds(caller.account_id)
        estimate = bound
        if not is_ample(funds.available, bound, rates):
            estimate = await counted(endpoint, document, bound, self.upstream)
        asked = _Asked(endpoint, model_of(document), estimate, rates)
        return _quoted(asked, funds, await book.waited_for(caller.account_id))


@dataclass(frozen=True, slots=True)
class _Asked:
    endpoint: Operation
    model: str | None
    estimate: Estimate
    rates: Rates | None


def _quoted(asked: _Asked, funds: Funds, waited_for: int) -> Quote:
    """Foretell what `PLACE` would do, and what the upstream would be told."""
    estimate = asked.estimate
    claim = claim_of(funds.limit, estimate, asked.rates)
    amount = min(claim.wanted, funds.limit)
    affordable = amount >= claim.minimum
    admitted = affordable and amount <= funds.available - waited_for
    paid = paid_for(estimate, amount, asked.rates) if affordable else estimate
    return Quote(
        endpoint=asked.endpoint.path,
        model=asked.model,
        input_tokens=estimate.input_tokens,
        output_cap=paid.output_cap,
        tool_calls_cap=None if paid.calls is None else paid.calls.most,
        choices=estimate.choices,
        hold=amount if affordable else claim.wanted,
        minimum=claim.minimum,
        available=funds.available,
        balance=funds.balance,
        held=funds.held,
        admitted=admitted,
        waits=affordable and not admitted,
        capped=paid.output_cap < estimate.output_cap,
        rates=None if asked.rates is None else rates_document(asked.rates),
    )


def _free(endpoint: Operation, document: Document, estimate: Estimate, funds: Funds) -> Quote:
    return Quote(
        endpoint=endpoint.path,
        model=model_of(document),
        input_tokens=estimate.input_tokens,
        output_cap=estimate.output_cap,
        tool_calls_cap=None,
        choices=estimate.choices,
        hold=0,
        minimum=0,
        available=funds.available,
        balance=funds.balance,
        held=funds.held,
        admitted=True,
        waits=False,
        capped=False,
        rates=None,
    )


def _as_bytes(body: bytes | Document) -> bytes:
    """The body as a client sends it, so that it is read as strictly."""
    if isinstance(body, bytes):
        text = body
    else:
        try:
            text = json.dumps(body, allow_nan=False).encode()
        except (ValueError, TypeError, RecursionError):
            msg = "We could not parse the JSON body of your request: it is not plain JSON."
            raise InvalidJson(msg) from None
    if len(text) > BODY_BYTES_MAX:
        msg = f"The request body is larger than {BODY_BYTES_MAX} bytes."
        raise RequestTooLarge(msg)
    return text
