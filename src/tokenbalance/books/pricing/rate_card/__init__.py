"""The rate card: a TOML file with the rates of models.

`reading` owns the format of the file, `card` what a card that was read says of a model and a day.
"""

from tokenbalance.books.pricing.rate_card.card import RateCard
from tokenbalance.books.pricing.rate_card.mistakes import RateCardError
from tokenbalance.books.pricing.rate_card.reading import load_rate_card, read_rate_card
from tokenbalance.books.pricing.rate_card.row import (
    Row,
    UnpricedModel,
    UnpricedRequest,
    UnpricedTier,
    UnpricedTool,
    UnpricedWindow,
)

__all__ = [
    "RateCard",
    "RateCardError",
    "Row",
    "UnpricedModel",
    "UnpricedRequest",
    "UnpricedTier",
    "UnpricedTool",
    "UnpricedWindow",
    "load_rate_card",
    "read_rate_card",
]
