"""What a request asks for: which endpoint, which document, what it may use at most, at which rates.

The proxy and the quote read requests with this, so that they cannot read them differently. It knows
no caller and no balance, and must never send or hold anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.rate_card import UnpricedModel
from tokenbalance.books.pricing.rates import wanted_for
from tokenbalance.errors import ModelNotFound, ServiceTierNotAllowed, UnknownUrl
from tokenbalance.offload import offload
from tokenbalance.openai import estimate as estimating
from tokenbalance.openai.documents import parse_document, type_error
from tokenbalance.openai.objects.refusal import refuse_references

if TYPE_CHECKING:
    from tokenbalance.books.pricing.rate_card import RateCard
    from tokenbalance.model import Document, Estimate, Rates, UpstreamTraits
    from tokenbalance.openai.operation import Operation

PREFIXES: Final = (b"/v1", b"/api/openai")
"""Where the proxy is mounted; the second is the original project's name for the same thing."""

AMPLE: Final = 1000
"""An account that affords a request this many times over is not worth tokenizing for: the bound by
bytes is held instead of the count. Nearer to the edge every hold is counted, so that none is larger
than it must be."""

PRICED_TIERS: Final = frozenset({"auto", "default", "standard", "flex"})
"""Service tiers that cost what a rate card says, or less: it has no factors for the others."""

INLINE_BYTES_MAX: Final = 4096
"""Texts up to this bound are counted on the event loop (well below a millisecond), longer ones in a
thread."""


def path_below_prefix(raw_path: bytes) -> bytes:
    """Cut off where the proxy is mounted.

    Raises:
        UnknownUrl: it is not mounted there.

    """
    for prefix in PREFIXES:
        if raw_path.startswith(prefix + b"/"):
            path = raw_path[len(prefix) :]
            # The original project's clients write a slash at the end.
            return path if prefix == PREFIXES[0] else path.rstrip(b"/")
    msg = "Invalid URL: it is not spelled as an endpoint of this server."
    raise UnknownUrl(msg)


def read_request(
    endpoint: Operation, body: bytes, upstream: UpstreamTraits
) -> tuple[Document, Estimate]:
    """Read a request's document strictly, and bound what it may use without counting.

    Raises:
        InvalidRequest: it is not strict JSON, a field that decides the cost is wrong, or one names
            what the upstream keeps.
        ModelNotFound: the model's name is not one that a caller may use.

    """
    document = parse_document(body)
    refuse_references(endpoint, document)
    return document, estimating.bound(endpoint, document, upstream)


def model_of(document: Document) -> str | None:
    """The model that a document names, if it names one."""
    model = document.get("model")
    return model if isinstance(model, str) else None


def rates_of(rate_card: RateCard | None, document: Document) -> Rates | None:
    """The rates of a request to a charged endpoint; None: a credit a token.

    Raises:
        InvalidType: its service tier is none.
        ServiceTierNotAllowed: the card cannot price its service tier.
        ModelNotFound: the card has no rate for its model, and refuses such.

    """
    if rate_card is None:
        return None
    _require_priced_tier(document)
    try:
        return rate_card.rates_for(model_of(document) or "")
    except UnpricedModel as error:
        message = f"The model `{error.model}` cannot be used here: no rate is set for it."
        raise ModelNotFound(message, param="model") from None


def _require_priced_tier(document: Document) -> None:
    tier = document.get("service_tier")
    if tier is None:
        return
    if not isinstance(tier, str):
        raise type_error("service_tier", "a string", tier)
    if tier not in PRICED_TIERS:
        allowed = ", ".join(f"`{name}`" for name in sorted(PRICED_TIERS))
        message = (
            "This service_tier cannot be used here: the rate card has no price for it."
            f" Leave it out, or use one of {allowed}."
        )
        raise ServiceTierNotAllowed(message, param="service_tier")


def is_ample(available: int, bound: Estimate, rates: Rates | None) -> bool:
    """Whether an account can be held the bound by bytes without noticing."""
    return available >= AMPLE * wanted_for(bound, rates)


async def counted(
    endpoint: Operation, document: Document, bound: Estimate, upstream: UpstreamTraits
) -> Estimate:
    """Count what was only bounded, beside the event loop where that takes long."""
    if bound.input_tokens <= INLINE_BYTES_MAX:
        return estimating.count(endpoint, document, upstream)
    return await offload(estimating.count, endpoint, document, upstream)
