"""A small catalogue in the types of the package genai-prices."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    Tier,
    TieredPrices,
)

from tokenbalance.books.pricing.catalogue.genai import priced_model

if TYPE_CHECKING:
    from tokenbalance.books.pricing.catalogue.terms import PricedModel, Terms

DAY = dt.date(2026, 11, 30)
BORDER = 272_000


def prices(**dollars: str | tuple[str, str]) -> ModelPrice:
    """List prices by key; a pair is one with another price for long input."""
    return ModelPrice(**{key: _price(value) for key, value in dollars.items()})


def _price(value: str | tuple[str, str]) -> Decimal | TieredPrices:
    if isinstance(value, str):
        return Decimal(value)
    base, long = value
    return TieredPrices(base=Decimal(base), tiers=[Tier(start=BORDER, price=Decimal(long))])


def since(day: dt.date, listed: ModelPrice) -> ConditionalPrice:
    """Prices from a day on."""
    return ConditionalPrice(constraint=StartDateConstraint(start_date=day), prices=listed)


def at(listed: ModelPrice, begins: dt.date | None = None, **when: str) -> PriceVariant:
    """Prices at a tier, or for a batch."""
    constraint = None if begins is None else StartDateConstraint(start_date=begins)
    return PriceVariant(when=when, prices=listed, constraint=constraint)


def read(standard: Any, *variants: PriceVariant, comment: str = "", **more: Any) -> PricedModel:
    """Read a model with these prices as the product does."""
    info = ModelInfo(
        id=more.pop("id", "m"),
        match=more.pop("match", ClauseEquals(equals="m")),
        price_comments=comment or None,
        prices=standard,
        price_variants=list(variants) or None,
    )
    return priced_model(info, DAY)


def terms(standard: Any, *variants: PriceVariant, **more: Any) -> Terms:
    """Read what such a model costs, which never changed."""
    (only,) = read(standard, *variants, **more).history
    return only
