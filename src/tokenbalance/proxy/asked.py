"""The first questions of a request: who asks for what, how much may it use, at which rates.

The proxy and the quote read requests with this code, so that they cannot read them differently. It
places no hold and sends nothing.
"""

from __future__ import annotations

import math
import threading
from asyncio import wrap_future
from bisect import bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.ceilings import affordable, both_for, minimum_for, wanted_for
from tokenbalance.errors import UnknownUrl, WebSocketNotSupported
from tokenbalance.model import Claim, Estimate
from tokenbalance.model.values import value
from tokenbalance.offload import offload, offload_fairly
from tokenbalance.openai import estimate as estimating
from tokenbalance.openai import is_socket
from tokenbalance.openai.ceilings.stored import refuse_lasting_tools, stored_at_most
from tokenbalance.openai.documents import parse_document
from tokenbalance.openai.objects.refusal import references_of
from tokenbalance.openai.query import NO_QUERY
from tokenbalance.proxy.rates import priced_model, rates_of

if TYPE_CHECKING:
    from tokenbalance.books.pricing.rate_card import RateCard
    from tokenbalance.model import Caller, Document, Rates, Stored, UpstreamTraits
    from tokenbalance.model.objects import Owned
    from tokenbalance.openai import Surface
    from tokenbalance.openai.objects.references import Reference
    from tokenbalance.openai.operation import Operation
    from tokenbalance.openai.query import Query
    from tokenbalance.wire.client.forms import Form
    from tokenbalance.wire.upstream import Outgoing

PREFIXES: Final = (b"/v1", b"/api/openai")
"""Where the proxy is mounted; the second is the original project's name for the same thing."""

AMPLE: Final = 1000
"""An account that can pay for a request this many times over is held the bound by bytes, without
tokenizing. Nearer to its limit every hold is counted, so that none is larger than necessary."""

QUOTED_TOKENS_MAX: Final = 2 * 1024 * 1024
"""More than any model reads: nobody needs the exact price of a longer text."""
COUNTED_INLINE_BYTES_MAX: Final = 4096
"""Texts up to this bound are counted on the event loop (well below a millisecond), longer ones in a
thread."""
READ_INLINE_BYTES_MAX: Final = 256 * 1024
"""Bodies up to this size are parsed on the event loop (in a few milliseconds), longer ones in a
thread."""


_JSON: Final = b"application/json"


class Unaffordable(Exception):
    """A request costs more than its account can ever pay with what it has."""

    def __init__(self, more_than: int) -> None:
        super().__init__(more_than)
        self.more_than = more_than
        """Credits that are less than it costs."""


@value
class Asked:
    """What a caller asks of the upstream: read, checked and bounded, before anything is held."""

    caller: Caller
    operation: Operation
    body: bytes
    """As the client sent it, decompressed; empty where that was a form."""
    document: Document
    """The body, parsed; empty where the operation has none."""
    bound: Estimate
    """The ceiling by the bytes of its text."""
    rates: Rates | None
    """What its usage costs; None: a credit a token, or the operation is not charged."""
    traits: UpstreamTraits
    """Of the upstream that it was bounded for."""
    references: tuple[Reference, ...] = ()
    """The objects that its body and its query name, each with one id."""
    path_ids: tuple[str, ...] = ()
    """The ids in its path, in order."""
    query: Query = NO_QUERY
    """Of its URL, as far as the operation has it."""
    known: tuple[Owned, ...] = ()
    """The caller's objects among those that it names, once they were looked up."""
    stored: Stored | None = None
    """What the model reads that the upstream stores, at most; None: nothing."""
    form: Form | None = None
    """The body, where it is a form; its fields are the document."""

    @property
    def outgoing(self) -> Outgoing:
        """The body as it is sent upstream."""
        return self.body if self.form is None else self.form.body

    @property
    def content_type(self) -> bytes | None:
        """The media type that the body is sent upstream with; None: it has none."""
        if self.form is not None:
            return self.form.boundary.content_type
        return _JSON if self.operation.bodies else None

    def with_query(self, query: Query) -> Asked:
        """The same with the query of its URL, and the objects that this names."""
        if not query.parameters:
            return self
        return replace(self, query=query, references=(*self.references, *query.references))

    @property
    def model(self) -> str | None:
        """The model that it names, if it names one."""
        return priced_model(self.operation, self.document)

    @property
    def streams(self) -> bool:
        """Whether a stream is asked for."""
        return self.document.get("stream") is True

    def is_ample(self, available: int) -> bool:
        """Whether so many available credits make counting needless."""
        return is_ample(wanted_for(self.bound, self.rates), available)

    @property
    def is_quickly_counted(self) -> bool:
        """Whether its text is so short that it can be counted on the event loop."""
        return self.bound.input_tokens <= COUNTED_INLINE_BYTES_MAX or (
            # What is stored is not counted here.
            self.stored is not None and len(self.body) <= COUNTED_INLINE_BYTES_MAX
        )

    async def counted(self, limit: int | None = None) -> Estimate:
        """The ceiling with its text counted, in a thread where that takes long.

        Args:
            limit: credits at most that holds of the account may take: a text that costs more is not
                counted to its end. None: it is counted whatever it costs.

        Raises:
            Unaffordable: the request costs more than `limit`, whatever its count is.

        """
        counting = self.operation, self.document, self.traits
        if self.is_quickly_counted:
            loading = estimating.loading_for(*counting)
            if loading is not None:
                await wrap_future(loading)
            return self._with_stored(estimating.count(*counting))
        if limit is None:
            return await self._counted_in_thread()
        estimate = await self._counted_in_thread(await self._most_tokens(limit))
        if estimate.counted:
            return estimate
        self._require_affordable(estimate, limit)
        return await self._counted_in_thread()

    async def quoted(self, limit: int) -> Estimate:
        """The ceiling for a quote: counted, unless it is both very long and beyond the account.

        Args:
            limit: credits at most that holds of the account may take.

        Returns:
            The bound by bytes, where it has more than QUOTED_TOKENS_MAX and costs more than that.

        """
        if self.is_quickly_counted:
            return await self.counted()
        estimate = await self._counted_in_thread(QUOTED_TOKENS_MAX)
        if estimate.counted:
            return estimate
        try:
            return await self.counted(max(limit, 0))
        except Unaffordable:
            return self.bound

    async def _most_tokens(self, limit: int) -> int:
        """Tokens of text that `limit` credits can pay for at most.

        Raises:
            Unaffordable: it is certain without counting that the request costs more.

        """
        reading = self.operation, self.document, self.traits
        is_long = len(self.body) > READ_INLINE_BYTES_MAX
        least = await offload(estimating.least, *reading) if is_long else estimating.least(*reading)
        self._require_affordable(self._with_stored(least), limit)
        tokens = range(self.bound.input_tokens + 1)
        return bisect_right(tokens, limit, key=lambda n: minimum_for(Estimate(n), self.rates)) - 1

    def _require_affordable(self, least: Estimate, limit: int) -> None:
        minimum = self.claim(least, limit).minimum
        if minimum > limit:
            raise Unaffordable(minimum - 1)

    async def _counted_in_thread(self, most: float = math.inf) -> Estimate:
        loading = estimating.loading_for(self.operation, self.document, self.traits)
        if loading is not None:
            # Before its turn, so that it takes nobody's place while it waits.
            await wrap_future(loading)
        given_up = threading.Event()
        try:
            counted = await offload_fairly(
                self.caller.account_id,
                self.bound.input_tokens,
                estimating.count,
                self.operation,
                self.document,
                self.traits,
                most,
                given_up.is_set,
            )
            return self._with_stored(counted)
        finally:
            # It may still run, when this is cancelled.
            given_up.set()

    def claim(self, estimate: Estimate, limit: int | None = None) -> Claim:
        """What it asks of its account.

        Args:
            estimate: its ceiling: the bound, or counted.
            limit: credits at most that holds of the account may take; None: not known.

        """
        if limit is not None:
            estimate = affordable(estimate, limit, self.rates)
        wanted, minimum = both_for(estimate, self.rates)
        outputs = estimate.choices * estimate.output_cap
        tokens = 0 if self.caller.policy is None else wanted_for(estimate, None)
        return Claim(wanted, minimum, estimate.known_input, outputs, tokens)

    def counter(self) -> estimating.UsageCounter:
        """Counts what it has used, where the upstream does not report it."""
        return estimating.UsageCounter(self.operation, self.document, self.traits, self.stored)

    def with_stored(self, stored: Stored) -> Asked:
        """The same, where it is known how much the model reads that the upstream stores."""
        shown = self.bound.without_assumed
        bound = estimating.reading(self.operation, shown, stored, self.document, self.traits)
        return replace(self, stored=stored, bound=bound)

    def _with_stored(self, shown: Estimate) -> Estimate:
        return estimating.reading(self.operation, shown, self.stored, self.document, self.traits)


def is_ample(wanted: int, available: int) -> bool:
    """Whether an account with so many credits may be held the bound by bytes, which needs these."""
    return available >= AMPLE * wanted


def match(
    surface: Surface, method: str, raw_path: bytes, query: bytes, *, websocket: bool = False
) -> tuple[bytes, Operation]:
    """Find the operation, and the raw path by which the upstream knows it.

    Args:
        surface: the operations that are open.
        method: of the request.
        raw_path: as the client spelled it, without the query.
        query: as the client spelled it.
        websocket: whether the request is the handshake of a WebSocket.

    Raises:
        UnknownUrl, EndpointNotAllowed: there is no such operation, or it is not open.
        WebSocketNotSupported: it is one of OpenAI's sockets.

    """
    path = path_below_prefix(raw_path)
    if websocket and method == "GET" and is_socket(path):
        msg = (
            "WebSockets are not supported here. Send the request as a POST with `stream` set to"
            " true instead."
        )
        raise WebSocketNotSupported(msg)
    return path, surface.find(method, path, query)


def path_below_prefix(raw_path: bytes) -> bytes:
    """Cut off the prefix under which the proxy is mounted.

    Raises:
        UnknownUrl: the path does not begin with one.

    """
    for prefix in PREFIXES:
        if raw_path.startswith(prefix + b"/"):
            path = raw_path[len(prefix) :]
            # The original project's clients write a slash at the end.
            return path if prefix == PREFIXES[0] else path.rstrip(b"/")
    msg = "Invalid URL: the path must be spelled as an endpoint of this server, such as /v1/models."
    raise UnknownUrl(msg)


def read(
    caller: Caller,
    operation: Operation,
    body: bytes | Form,
    traits: UpstreamTraits,
    rate_card: RateCard | None,
) -> Asked:
    """Read a request that has a body.

    CPU-bound: a body longer than READ_INLINE_BYTES_MAX belongs in a thread.

    Raises:
        InvalidRequest: it is not strict JSON, a field that decides the cost is wrong, or one names
            what the upstream keeps.
        ModelNotFound: its model is not one that a caller may use, or the card has no rate for it
            or for the model of one of its tools.
        ServiceTierNotAllowed, ToolNotAllowed: the card has no price for its service tier, or no
            fee for one of its tools.

    """
    document, references, bound = read_document(operation, body, traits)
    rates = rates_of(rate_card, operation, document) if operation.charged else None
    stored = stored_at_most(operation, references) if references else None
    is_form = not isinstance(body, bytes)
    return Asked(
        caller,
        operation,
        b"" if is_form else body,
        document,
        bound,
        rates,
        traits,
        references,
        stored=stored,
        form=body if is_form else None,
    )


def read_document(
    operation: Operation, body: bytes | Form, traits: UpstreamTraits
) -> tuple[Document, tuple[Reference, ...], Estimate]:
    """Read a body strictly, and bound what the request may use without counting.

    Returns:
        The document, the objects of the upstream that it names, and the bound. Of what is stored
        the model may read as much as it can, until somebody has looked.

    Raises:
        InvalidRequest: it is not strict JSON, a field that decides the cost is wrong, or one names
            what nobody can own here.
        ModelNotFound: its model is not one that a caller may use.

    """
    document = parse_document(body) if isinstance(body, bytes) else body.document
    refuse_lasting_tools(operation, document)
    references = references_of(operation, document)
    stored = stored_at_most(operation, references) if references else None
    shown = estimating.bound(operation, document, traits)
    return document, references, estimating.reading(operation, shown, stored, document, traits)
