"""What a request would cost, asked in advance: nothing is held, nothing is dispatched.

The first stages of the pipeline, by the same code, and then one look at the account. It must never
place a hold or promise anything: the account may have changed when the request comes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tokenbalance.books.ledger.book import Book
from tokenbalance.books.pricing.assumptions import assumptions_of
from tokenbalance.books.pricing.ceilings import paid_for
from tokenbalance.books.pricing.rates import rates_document
from tokenbalance.errors import InvalidJson, RequestTooLarge
from tokenbalance.model import OPENAI
from tokenbalance.offload import offload
from tokenbalance.openai import SURFACE
from tokenbalance.openai.conditions import conditions_of
from tokenbalance.owners.registry import Owners
from tokenbalance.proxy.asked import READ_INLINE_BYTES_MAX, match, read
from tokenbalance.proxy.limits.quoting import judged, within_limits
from tokenbalance.proxy.ownership import Ownership
from tokenbalance.proxy.stored import known_stored
from tokenbalance.wire.client.request import BODY_BYTES_MAX

if TYPE_CHECKING:
    from tokenbalance.books.ledger.book import Funds
    from tokenbalance.books.pricing.assumptions import Assumption
    from tokenbalance.books.pricing.rate_card import RateCard
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Caller, Document, Estimate, UpstreamTraits
    from tokenbalance.openai import Surface
    from tokenbalance.proxy.asked import Asked
    from tokenbalance.proxy.limits.quoting import QuotedLimit


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
    assumptions: tuple[Assumption, ...]
    """What makes it dear to cover the request, the dearest first."""
    limit: str | None = None
    """The limit that would refuse it, or else the one that would lower its output; None: none."""
    retry_after_ms: int | None = None
    """After which time a limit that would refuse it now would let it pass; None: none would refuse
    it, or that limit never would, or once requests in progress have ended."""
    limits: tuple[QuotedLimit, ...] = ()
    """What the counted limits of the key have left."""


@dataclass(frozen=True, slots=True)
class Quotes:
    """Makes quotes from the books, the rate card and the kind of the upstream."""

    pool: Pool
    rate_card: RateCard | None = None
    """None: every token is one credit."""
    upstream: UpstreamTraits = OPENAI
    surface: Surface = SURFACE

    async def quote(self, caller: Caller, path: str, body: bytes | Document) -> Quote:
        """Say what a POST of `body` to `path` (`/v1/...`) would hold, and if it would be admitted.

        Nothing is held, and nothing is dispatched. As in the proxy, the input is counted where the
        account could hardly pay for it, and bounded by its bytes where it could many times over.
        What the upstream stores is not counted: unless it is known, it is as much as the model can
        read. The bound is also returned where the account cannot pay for it and no model reads so
        much.

        Raises:
            UnknownUrl, EndpointNotAllowed: as the proxy does for that path.
            ObjectNotFound: as the proxy does for objects that are not the caller's.
            InvalidRequest, ModelNotFound, ModelNotAllowed, ServiceTierNotAllowed, ToolNotAllowed:
                as the proxy does for that body.

        """
        raw_path, _, query = path.encode("ascii", "replace").partition(b"?")
        path_below, operation = match(self.surface, "POST", raw_path, query)
        source = _as_bytes(body)
        if len(source) <= READ_INLINE_BYTES_MAX:
            asked = read(caller, operation, source, self.upstream, self.rate_card)
        else:
            asked = await offload(read, caller, operation, source, self.upstream, self.rate_card)
        if asked.references or (operation.uses and not operation.of_models):
            asked = await Ownership(Owners(self.pool)).check(asked, path_below)
        asked = judged(asked, path_below)
        known = known_stored(asked)
        if known is not None:
            asked = asked.with_stored(known)
        book = Book(self.pool)
        funds = await book.funds(caller.account_id)
        if not operation.charged:
            return _free(asked, funds)
        is_ample = caller.policy is None and asked.is_ample(funds.available)
        estimate = asked.bound if is_ample else await asked.quoted(funds.limit)
        waited_for = await book.waited_for(caller.account_id)
        if caller.policy is None:
            return _quoted(asked, estimate, estimate, funds, waited_for)
        within = within_limits(asked, estimate, await book.limits_of(asked.caller), funds.limit)
        quote = _quoted(asked, estimate, within.estimate, funds, waited_for)
        return replace(
            quote,
            admitted=quote.admitted and within.is_admitted,
            waits=(quote.waits and within.is_admitted)
            or (within.waits and (quote.waits or quote.admitted)),
            limit=within.limit,
            retry_after_ms=within.retry_after_ms,
            limits=within.limits,
        )


def _quoted(
    asked: Asked, estimate: Estimate, fitted: Estimate, funds: Funds, waited_for: int
) -> Quote:
    """Predict what `PLACE` would do, and which limit the upstream would get.

    Args:
        asked: the request.
        estimate: its ceiling, as it asks for it.
        fitted: what of that limits allow.
        funds: of its account.
        waited_for: credits that others wait for.

    """
    claim = asked.claim(fitted, funds.limit)
    amount = min(claim.wanted, funds.limit)
    affordable = amount >= claim.minimum
    admitted = affordable and amount <= funds.available - waited_for
    paid = paid_for(fitted, amount, asked.rates) if affordable else fitted
    return Quote(
        endpoint=asked.operation.path,
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
        assumptions=_assumptions(asked, estimate),
    )


def _assumptions(asked: Asked, estimate: Estimate) -> tuple[Assumption, ...]:
    if asked.rates is None:
        return assumptions_of(estimate, None)
    conditions = conditions_of(asked.operation, asked.document)
    return assumptions_of(estimate, asked.rates, conditions)


def _free(asked: Asked, funds: Funds) -> Quote:
    return Quote(
        endpoint=asked.operation.path,
        model=asked.model,
        input_tokens=asked.bound.input_tokens,
        output_cap=asked.bound.output_cap,
        tool_calls_cap=None,
        choices=asked.bound.choices,
        hold=0,
        minimum=0,
        available=funds.available,
        balance=funds.balance,
        held=funds.held,
        admitted=True,
        waits=False,
        capped=False,
        rates=None,
        assumptions=(),
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
