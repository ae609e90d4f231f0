"""Reads the prices of OpenAI's models from the data of the package genai-prices.

The package is the optional extra `prices`; this file is imported only where it is used. The data
come with the package: nothing is fetched. Whatever in them has no place on a card is an error or a
note, never left out silently.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace
from fractions import Fraction
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, cast

from genai_prices.data import providers
from genai_prices.types import (
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    StartDateConstraint,
    TieredPrices,
)

from tokenbalance.books.pricing.catalogue.patterns import glob_of, literal, ordered
from tokenbalance.books.pricing.catalogue.terms import (
    Catalogue,
    CatalogueError,
    PricedModel,
    Terms,
)
from tokenbalance.books.pricing.catalogue.variants import (
    Price,
    Tokens,
    factor_of,
    long_of,
    notes_of,
)
from tokenbalance.books.pricing.factors import ONE, exact_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from genai_prices.types import ModelInfo, ModelPrice, PriceVariant

NAME: Final = "genai-prices"
_PROVIDER: Final = "openai"

_TOKENS: Final = {
    "input_mtok": "input",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "output_mtok": "output",
    "input_audio_mtok": "audio_input",
    "output_audio_mtok": "audio_output",
    "input_image_mtok": "image_input",
    "cache_image_read_mtok": "cached_image_input",
    "output_image_mtok": "image_output",
}
"""Dollars for a million tokens, by kind."""
_COUNTS: Final = {
    "input_mchars": ("character", Fraction(1)),
    "audio_hours": ("second_audio", Fraction(1_000_000, 3600)),
    "input_audio_hours": ("second_audio", Fraction(1_000_000, 3600)),
}
"""Kinds that are no tokens, and micro-dollars for one of them where the list says one dollar."""
_FEES: Final = {"web_searches_kcount": "web_search", "storage_searches_kcount": "file_search"}
"""Dollars for a thousand calls, by tool."""
_MICRODOLLARS_A_CALL: Final = 1000
_CACHED_AUDIO: Final = "cache_audio_read_mtok"
"""Part of a kind that a card cannot tell from the rest of it: reports of usage do not either."""
_TWELVE_HOURS: Final = re.compile(r"12-hour retention rate \(\$(\d+(?:\.\d+)?)\)")
"""In comments; the data have no field for it."""


def read_genai_prices(day: dt.date) -> Catalogue:
    """Read the catalogue as it was on a day; later prices that it knows already are included.

    Raises:
        CatalogueError: it says what a card cannot.

    """
    provider = next((one for one in providers if one.id == _PROVIDER), None)
    if provider is None:
        raise CatalogueError(f"{NAME} has no prices of {_PROVIDER}")
    source = f"{NAME} {version(NAME)}"
    return Catalogue(source, ordered(priced_model(info, day) for info in provider.models))


def priced_model(info: ModelInfo, day: dt.date) -> PricedModel:
    """Read one model.

    Raises:
        CatalogueError: as `read_genai_prices`; it names the model.

    """
    try:
        history = tuple(_history(info, day))
        patterns = tuple(_patterns(info.match))
    except CatalogueError as error:
        raise CatalogueError(f"{NAME}: {info.id}: {error}") from None
    return PricedModel(info.id, patterns, history, info.price_comments or "")


# --- names ----------------------------------------------------------------------------------------


def _patterns(clause: object) -> list[str]:
    match clause:
        case ClauseEquals(equals=name):
            return [literal(name)]
        case ClauseStartsWith(starts_with=start):
            return [f"{literal(start)}*"]
        case ClauseEndsWith(ends_with=end):
            return [f"*{literal(end)}"]
        case ClauseContains(contains=part):
            return [f"*{literal(part)}*"]
        case ClauseRegex(regex=regex):
            return [glob_of(regex)]
        case ClauseOr(or_=clauses):
            return [pattern for one in clauses for pattern in _patterns(one)]
        case _:
            raise CatalogueError(f"{type(clause).__name__} cannot be written as a pattern")


# --- prices ---------------------------------------------------------------------------------------


def _history(info: ModelInfo, day: dt.date) -> list[Terms]:
    periods = sorted(_periods(info), key=lambda period: period[0] or dt.date.min)
    history: list[Terms] = []
    for index, (since, prices) in enumerate(periods):
        until = periods[index + 1][0] if index + 1 < len(periods) else None
        variants = [one for one in info.price_variants or () if _holds(one, until, day)]
        history.append(_terms(since, prices, variants, info.price_comments or ""))
    return history


def _periods(info: ModelInfo) -> list[tuple[dt.date | None, ModelPrice]]:
    if not isinstance(info.prices, list):
        return [(None, info.prices)]
    return [(_start(one.constraint), one.prices) for one in info.prices]


def _start(constraint: object) -> dt.date | None:
    match constraint:
        case None:
            return None
        case StartDateConstraint(start_date=start):
            return start
        case _:
            raise CatalogueError(f"prices by {type(constraint).__name__} have no place on a card")


def _holds(variant: PriceVariant, until: dt.date | None, day: dt.date) -> bool:
    """Whether a tier has begun before the end of a period, as far as it has gone."""
    start = _start(variant.constraint)
    return start is None or (start <= day and (until is None or start < until))


def _terms(
    since: dt.date | None, prices: ModelPrice, variants: Sequence[PriceVariant], comment: str
) -> Terms:
    listed = _listed(prices)
    tokens = _tokens(listed)
    long, notes = long_of(tokens)
    terms = Terms(
        since=since,
        rates=_rates(listed, tokens, comment),
        fees={
            tool: _plain(listed[key]) * _MICRODOLLARS_A_CALL
            for key, tool in _FEES.items()
            if key in listed
        },
        long=long,
        notes=(*notes, *_notes_of_parts(listed)),
    )
    for variant in variants:
        terms = _with_variant(terms, tokens, variant)
    return terms


def _with_variant(terms: Terms, standard: Tokens, variant: PriceVariant) -> Terms:
    match variant.when:
        case {"service_tier": name, **rest} if not rest:
            is_batch = False
        case {"processing": "batch" as name, **rest} if not rest:
            is_batch = True
        case _:
            raise CatalogueError(f"prices by {variant.when} have no place on a card")
    listed = _listed(variant.prices)
    if listed.keys() & (_COUNTS.keys() | _FEES.keys()):
        raise CatalogueError(f"{name} has prices of its own for more than tokens")
    own = _tokens(listed).prices
    if set(own) - set(standard.prices):
        raise CatalogueError(f"{name} has prices of kinds that the standard tier has not")
    if not standard.prices or not own:
        return terms
    factor = factor_of(name, standard, own)
    notes = (*terms.notes, *notes_of(name, standard, own, factor, terms.long))
    if is_batch:
        return replace(terms, batch=factor, notes=notes)
    if factor == ONE:
        return replace(terms, notes=notes)
    return replace(terms, tiers={**terms.tiers, name: factor}, notes=notes)


def _listed(prices: ModelPrice) -> dict[str, Decimal | TieredPrices]:
    found = cast("Mapping[str, Decimal | TieredPrices | None]", vars(prices))
    listed = {key: price for key, price in found.items() if price is not None}
    unknown = listed.keys() - {*_TOKENS, *_COUNTS, *_FEES, _CACHED_AUDIO}
    if unknown:
        raise CatalogueError(f"{', '.join(sorted(unknown))} has no kind on a card")
    return listed


def _tokens(listed: Mapping[str, Decimal | TieredPrices]) -> Tokens:
    starts = {
        tier.start
        for key in _TOKENS
        if isinstance(price := listed.get(key), TieredPrices)
        for tier in price.tiers
    }
    if len(starts) > 1:
        raise CatalogueError("it has more than one price for long input")
    prices = {kind: _price(listed[key]) for key, kind in _TOKENS.items() if key in listed}
    return Tokens(prices, *starts)


def _price(listed: Decimal | TieredPrices) -> Price:
    if not isinstance(listed, TieredPrices):
        return Price(Fraction(listed))
    long = [Fraction(tier.price) for tier in listed.tiers]
    return Price(Fraction(listed.base), *long)


def _rates(
    listed: Mapping[str, Decimal | TieredPrices], tokens: Tokens, comment: str
) -> dict[str, Fraction]:
    rates = {kind: price.base for kind, price in tokens.prices.items()}
    for key, (kind, microdollars) in _COUNTS.items():
        if key in listed:
            rates[kind] = max(rates.get(kind, Fraction(0)), _plain(listed[key]) * microdollars)
    twelve_hours = _TWELVE_HOURS.search(comment)
    if twelve_hours is not None and "cache_write" in rates:
        rates["cache_write_12h"] = Fraction(twelve_hours[1])
    if not rates or rates.keys() & {*_TOKENS.values()}:
        # Free for good, or nothing that could cost anything: embeddings have no output.
        rates = {"input": Fraction(0), "output": Fraction(0), **rates}
    return rates


def _notes_of_parts(listed: Mapping[str, Decimal | TieredPrices]) -> list[str]:
    if _CACHED_AUDIO not in listed:
        return []
    price = exact_text(_price(listed[_CACHED_AUDIO]).base)
    return [f"cached audio costs {price} by the list, what audio_input costs by this row"]


def _plain(listed: Decimal | TieredPrices) -> Fraction:
    if isinstance(listed, TieredPrices):
        raise CatalogueError("a price that is not of tokens depends on the length of the input")
    return Fraction(listed)
