"""One row of a rate card: what it lists, and the rates of a request under its conditions."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.factors import ONE, STANDARD_TIERS, build_factors
from tokenbalance.books.pricing.rates import build_rates
from tokenbalance.books.pricing.units import FREE_TOOLS, NEVER_FREE, UNITS, fee_kind
from tokenbalance.model import PLAIN

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from fractions import Fraction

    from tokenbalance.books.pricing.units import Units
    from tokenbalance.model import Conditions, Factors, Long, Rates

VERSION: Final = 2
"""The newest version of the format."""
_TIERS_OF_VERSION_1: Final = frozenset((*STANDARD_TIERS, "flex"))
_AS_DEAR: Final = {"fast": "priority", "priority": "fast"}
"""The upstream answers one where the other was asked for."""


class UnpricedRequest(LookupError):
    """The card has no price for a request; the subclasses say what of it."""


class UnpricedModel(UnpricedRequest):
    """The card has no rate for a model, and refuses models without one."""

    def __init__(self, model: str, field: str = "model") -> None:
        super().__init__(model)
        self.model = model
        self.field = field
        """Which of the request's models: `model`, `image_model` or `svg_model`."""


class UnpricedTier(UnpricedRequest):
    """The row of the model has no factor for a service tier."""

    def __init__(self, tier: str) -> None:
        super().__init__(tier)
        self.tier = tier


class UnpricedWindow(UnpricedRequest):
    """The row of the model has no factor for a completion window."""

    def __init__(self, window: str) -> None:
        super().__init__(window)
        self.window = window


class UnpricedTool(UnpricedRequest):
    """The row of the model has fees, but none for a tool."""

    def __init__(self, tool: str) -> None:
        super().__init__(tool)
        self.tool = tool


@dataclass(frozen=True)
class Row:
    """What a card lists for the models whose names match, from a day on."""

    patterns: tuple[str, ...]
    """Globs with `*`, `?` and `[...]`, case-sensitive; none: models that no other row is for."""
    nano: Mapping[str, int] = field(hash=False)
    """Nano-credits by kind, fees among them, as the row has them."""
    begins: dt.date | None = None
    """The first day on which it counts (UTC); None: always."""
    tiers: Mapping[str, Fraction] = field(default_factory=dict[str, "Fraction"], hash=False)
    windows: Mapping[str, Fraction] = field(default_factory=dict[str, "Fraction"], hash=False)
    regions: Mapping[str, Fraction] = field(default_factory=dict[str, "Fraction"], hash=False)
    batch: Fraction = ONE
    long: Long | None = None
    has_fees: bool = False
    """It has a table of fees: a tool without one there is refused."""
    version: int = VERSION
    """Of the card."""
    units: Units = field(default=UNITS, repr=False, compare=False)

    @property
    def pattern(self) -> str:
        """All patterns as one text, for people."""
        return ", ".join(self.patterns)

    @cached_property
    def rates(self) -> Rates:
        """The rates of a request that asks for nothing that changes them."""
        return build_rates(self.nano, self.units, factors=self.factors_for(PLAIN), asked=PLAIN)

    def rates_for(
        self, asked: Conditions, others: Mapping[str, Row], region: str | None = None
    ) -> Rates:
        """Make the rates of a request.

        Args:
            asked: what it asks for.
            others: the rows of the other models in its conditions, by member.
            region: as in `factors_for`.

        Raises:
            UnpricedTier, UnpricedWindow, UnpricedTool: the row has no price for it.

        """
        factors = self.factors_for(asked, region)
        self._require_fees(asked.tools)
        seconds = {
            kind: others[source.model].rates.nano[source.kind]
            for kind, source in self.units.copied
            if source.model in others
        }
        return build_rates({**self.nano, **seconds}, self.units, factors=factors, asked=asked)

    def factors_for(self, asked: Conditions, region: str | None = None) -> Factors | None:
        """Find what multiplies the cost of a request.

        Args:
            asked: what it asks for.
            region: the region of the upstream; None: it has none.

        Raises:
            UnpricedTier, UnpricedWindow: the row has no factor for it.

        """
        assumed = self._tier_factor(asked.tier)
        if self.version == 1:
            return None
        always = self._window_factor(asked.window) * self._region_factor(region)
        if asked.is_batch:
            always *= self.batch
        return build_factors(self.tiers, assumed, self.long, always)

    def _tier_factor(self, tier: str) -> Fraction:
        """The highest factor that a response to a request for this tier may have."""
        if self.version == 1:
            if tier not in _TIERS_OF_VERSION_1:
                raise UnpricedTier(tier)
            return ONE
        if tier not in self.tiers:
            if tier in STANDARD_TIERS:
                return ONE
            raise UnpricedTier(tier)
        other = _AS_DEAR.get(tier, tier)
        return max(self.tiers[tier], self.tiers.get(other, self.tiers[tier]))

    def _window_factor(self, window: str) -> Fraction:
        if not window:
            return ONE
        if window not in self.windows:
            raise UnpricedWindow(window)
        return self.windows[window]

    def _region_factor(self, region: str | None) -> Fraction:
        if region is None or not self.regions:
            return ONE
        return self.regions.get(region, max(self.regions.values()))

    def _require_fees(self, tools: tuple[str, ...]) -> None:
        for tool in tools:
            is_due = self.has_fees or tool in NEVER_FREE
            if is_due and tool not in FREE_TOOLS and fee_kind(tool) not in self.nano:
                raise UnpricedTool(tool)
