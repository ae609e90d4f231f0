"""What of a request decides its price, besides its model: what a rate card is asked for.

Pure, and run only where there is a card. It knows no rate, and refuses nothing but fields that it
cannot read: what a card has no price for is the card's to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.model import PLAIN, Conditions
from tokenbalance.openai.ceilings.chat import SEARCH_MODEL
from tokenbalance.openai.ceilings.hosted_tools import allowance_for
from tokenbalance.openai.ceilings.image_tool import IMAGE_TOOLS, image_model_of, svg_model_of
from tokenbalance.openai.ceilings.images import svg_author
from tokenbalance.openai.ceilings.media import unsupported
from tokenbalance.openai.ceilings.messages import is_of
from tokenbalance.openai.documents import optional_object, optional_string, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Document
    from tokenbalance.openai.ceilings.hosted_tools import Offer
    from tokenbalance.openai.operation import Operation

_DECIDING: Final = frozenset({
    "background_options", "prompt_cache_options", "prompt_cache_retention", "service_tier", "tools",
    "web_search_options",
})  # fmt: skip
"""Fields that decide a price, besides the model and tools within the input."""
_SHORT: Final = PLAIN.cache_lifetime
_LIFETIMES: Final = frozenset({_SHORT, "12h", "24h"})
_OTHER_LIFETIME: Final = "other"
"""In place of one that is not known: what a client writes is not kept with rates."""
_CACHE_OPTIONS: Final = "prompt_cache_options"
_USUAL_RETENTION: Final = "in_memory"
"""The value of the older field that asks for no longer life than usual."""
_AT_ONCE: Final = "soonest"


def conditions_of(operation: Operation, document: Document) -> Conditions:
    """Return what decides the price of a request, whose ceiling has been found.

    Raises:
        InvalidType: one of the fields that decide it has the wrong type.
        UnsupportedParameter: its tools would have images made by different models.
    """
    family = operation.family
    if family.fee is not None:
        return PLAIN._replace(tools=(family.fee,))
    if family.draws:
        return PLAIN._replace(svg_model=svg_author(document))
    if (
        _DECIDING.isdisjoint(document)
        and not isinstance(document.get("input"), list)
        and SEARCH_MODEL not in str(document.get("model"))
    ):
        # Plainly nothing decides its price, as of most.
        return PLAIN
    tier = optional_string(document, "service_tier")
    lifetime, window = _cache_lifetime(document), _window(document)
    offers = _offers(operation, document)
    if tier is None and lifetime == _SHORT and not window and not offers:
        return PLAIN
    fees = {allowance_for(tool).fee for tool, _ in offers}
    image_model, svg_model = _image_models(document, offers)
    return Conditions(
        tier=PLAIN.tier if tier is None else tier,
        cache_lifetime=lifetime,
        window=window,
        image_model=image_model,
        svg_model=svg_model,
        tools=tuple(sorted(fee for fee in fees if fee is not None)),
    )


def path_of_tool(operation: Operation, document: Document, fee: str) -> str:
    """The path of what a request offers with the fee of this name, a tool or a search."""
    offers = _offers(operation, document)
    return next((at for tool, at in offers if allowance_for(tool).fee == fee), "tools")


def path_of_images(operation: Operation, document: Document) -> str:
    """The path of the tool that makes images."""
    offers = _offers(operation, document)
    return next((at for tool, at in offers if is_of(tool, IMAGE_TOOLS)), "tools")


def hosted_tools(operation: Operation, document: Document) -> Iterator[tuple[frozenset[str], str]]:
    """Yield what the upstream may run for a request, by each of its names, with its path.

    A name is the type of the tool, and what its fee is called where that says the same of several
    types.
    """
    for tool, at in _offers(operation, document):
        allowance = allowance_for(tool)
        if allowance.call or allowance.fee is not None:
            names = {str(tool.get("type")), allowance.fee}
            yield frozenset(name for name in names if name is not None), at


def models_of_tools(operation: Operation, document: Document) -> Iterator[tuple[str, str]]:
    """Yield the models that may make images for a request besides its own, with their paths."""
    if operation.family.draws and (author := svg_author(document)) is not None:
        yield author, "svg.model"
    for tool, at in _offers(operation, document):
        if is_of(tool, IMAGE_TOOLS):
            yield image_model_of(tool), path_of(at, "model")
            author = svg_model_of(tool, str(document.get("model")))
            if author is not None:
                yield author, path_of(path_of(at, "svg"), "model")


def _offers(operation: Operation, document: Document) -> list[Offer]:
    ceiling = operation.ceiling
    return [] if ceiling is None or ceiling.offers is None else ceiling.offers(document)


def _image_models(document: Document, offers: list[Offer]) -> tuple[str | None, str | None]:
    """The models of the tool that makes images, and of the SVG that it writes."""
    found: tuple[str | None, str | None] = (None, None)
    for tool, at in offers:
        if is_of(tool, IMAGE_TOOLS):
            models = image_model_of(tool), svg_model_of(tool, str(document.get("model")))
            if found not in {(None, None), models}:
                raise unsupported(path_of(at, "model"), "Offer one image model in a request.")
            found = models
    return found


def _cache_lifetime(document: Document) -> str:
    """How long what the request writes into the prompt cache is asked to live."""
    options = optional_object(document, "prompt_cache_options")
    lifetime = None if options is None else optional_string(options, "ttl", at=_CACHE_OPTIONS)
    lifetime = lifetime or _SHORT
    if lifetime == _SHORT:
        retention = optional_string(document, "prompt_cache_retention")
        if retention is not None and retention != _USUAL_RETENTION:
            lifetime = retention
    return lifetime if lifetime in _LIFETIMES else _OTHER_LIFETIME


def _window(document: Document) -> str:
    options = optional_object(document, "background_options")
    if options is None:
        return PLAIN.window
    window = optional_string(options, "completion_window", at="background_options")
    return PLAIN.window if window is None or window == _AT_ONCE else window
