"""What requests that were charged cost with another card. Pure: reads and writes nothing.

The usage is what the ledger has, the conditions are those that were stored with the hold, and the
prices are those of the day of the hold. Where the books leave the default tier out, a request
without a tier was served at it: it is priced by that, whatever `auto` may cost with the new card.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from tokenbalance.books.pricing.factors import is_assumed
from tokenbalance.books.pricing.rate_card import (
    UnpricedModel,
    UnpricedRequest,
    UnpricedTier,
    UnpricedTool,
    UnpricedWindow,
)
from tokenbalance.books.pricing.rates import ASKED, asked_from, charge_for, stored_rates
from tokenbalance.books.pricing.units import TIER
from tokenbalance.model import PLAIN

if TYPE_CHECKING:
    from tokenbalance.books.pricing.rate_card import RateCard
    from tokenbalance.model import Conditions, Json, Rates, Usage

_KEPT_MAX: Final = 4096
"""Models under their conditions on one day whose rates are kept ready."""
_DEFAULT: Final = "default"
_SECOND_BILLS: Final = {"image_tool_": "image_model", "svg_": "svg_model"}
"""What the kinds of a second bill begin with, and the condition that names the model behind it."""
_UNKNOWN: Final = {"image_model": "its image model", "svg_model": "its SVG model"}


class NoPrice(LookupError):
    """There is no price for a request; the message says why, without the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged:
    """A request that was charged, with all that came later."""

    row: int
    """The id of its end in the ledger."""
    request_id: str
    started_at: datetime
    """When its hold was placed."""
    model: str | None
    rates: str | None
    """Those of its hold, as they are stored."""
    usage: Usage
    """With its correction."""
    charge: int
    """Credits that it costs now, without refunds."""
    refunded: int
    """Credits."""
    last: int
    """The id of the last row that came later; 0 if none did."""


class Price(NamedTuple):
    """What a request costs with a card."""

    rates: Rates
    due: int
    """Credits for its usage."""
    charge: int
    """Credits that it costs: more than is due only where more was refunded already."""


class NewPrices:
    """The prices of a card, for requests of the past."""

    def __init__(self, card: RateCard) -> None:
        self._card = card
        self._kept: dict[tuple[str, Conditions, date], Rates | str] = {}
        """Rates, or why there are none."""

    def price_of(self, request: Charged) -> Price:
        """Price a request.

        Raises:
            NoPrice: the card has none for it.

        """
        if not request.model:
            msg = "its model is not known"
            raise NoPrice(msg)
        day = request.started_at.astimezone(UTC).date()
        rates = self._rates(request.model, _conditions(request), day)
        due = charge_for(request.usage, rates)
        # A price that falls gives back nothing that a refund gave back before.
        return Price(rates, due, max(due, min(request.charge, request.refunded)))

    def _rates(self, model: str, conditions: Conditions, day: date) -> Rates:
        key = (model, conditions, day)
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= _KEPT_MAX:
                self._kept.clear()
            found = self._kept[key] = self._look_up(model, conditions, day)
        if isinstance(found, str):
            raise NoPrice(found)
        return found

    def _look_up(self, model: str, conditions: Conditions, day: date) -> Rates | str:
        try:
            return self._card.rates_for(model, conditions, day)
        except UnpricedRequest as error:
            return _lacking(error)


def _lacking(error: UnpricedRequest) -> str:
    """Say what a card lacks for a request."""
    match error:
        case UnpricedModel(field="model"):
            return "the card has no rates for it"
        case UnpricedModel(model=model):
            return f"the card has no rates for {model}, which its tool uses"
        case UnpricedTier(tier=tier):
            return f"the card has no factor for the service tier {tier}"
        case UnpricedWindow(window=window):
            return f"the card has no factor for the completion window {window}"
        case UnpricedTool(tool=tool):
            return f"the card has no fee for {tool}"
        case _:
            return "the card has no price for it"


def _conditions(request: Charged) -> Conditions:
    """Find what decides the price of a request: what it asked for, with the tier it had."""
    asked, is_default = _asked(request.rates)
    used = request.usage.quantities
    if is_default and not any(kind.startswith(TIER) for kind in used):
        asked = asked._replace(tier=_DEFAULT)
    for beginning, name in _SECOND_BILLS.items():
        is_used = any(kind.startswith(beginning) for kind in used)
        if is_used and getattr(asked, name) is None:
            msg = f"{_UNKNOWN[name]} is not known"
            raise NoPrice(msg)
    # Not the tools that it used beyond those: a call without a fee costs nothing, as it did then.
    return asked


@lru_cache(maxsize=1024)
def _asked(text: str | None) -> tuple[Conditions, bool]:
    """Read what a request asked for, and whether no tier means the default one."""
    stored = {} if text is None else cast("dict[str, dict[str, Json]]", json.loads(text))
    asked = asked_from(stored[ASKED]) if ASKED in stored else PLAIN
    return asked, is_assumed(f"{TIER}{_DEFAULT}", stored_rates(text))
