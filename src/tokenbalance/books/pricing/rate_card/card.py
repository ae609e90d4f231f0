"""A card that was read: it decides for every model and day what a request costs, or refuses it."""

from __future__ import annotations

import datetime as dt
import re
import time
from fnmatch import translate
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenbalance.books.pricing.rate_card.row import Row, UnpricedModel
from tokenbalance.model import PLAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenbalance.model import Conditions, Rates

_KEPT_MAX: Final = 1024
"""Models under their conditions whose rates are kept ready."""
_NAME_MAX: Final = 128
_TEXT_MAX: Final = 4096
"""Longer ones are not kept: clients choose what is in them."""
_DAY_NS: Final = 86_400 * 10**9
_EPOCH: Final = dt.date(1970, 1, 1)
_Key: TypeAlias = "str | tuple[str, Conditions]"
"""A model; with its conditions where these are not plain."""
_REGION: Final = re.compile(r"([a-z0-9-]+)\.api\.openai\.com\.?", re.IGNORECASE)


def region_of(host: str) -> str | None:
    """The region of an upstream, by its host; None: it has none."""
    match = _REGION.fullmatch(host)
    return None if match is None else match[1].lower()


class History:
    """Rows with the same patterns: one of them counts, by the day."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows: Sequence[Row] = sorted(
            rows, key=lambda row: row.begins or dt.date.min, reverse=True
        )
        """Newest first."""
        self.patterns = rows[0].patterns

    @property
    def begins(self) -> dt.date:
        """The first day on which one of them counts."""
        return self.rows[-1].begins or dt.date.min

    def on(self, day: dt.date) -> Row | None:
        """The newest row that has begun."""
        return next((row for row in self.rows if (row.begins or dt.date.min) <= day), None)

    @cached_property
    def matcher(self) -> re.Pattern[str]:
        """The patterns as one regular expression."""
        return re.compile(self._expression)

    @cached_property
    def loose_matcher(self) -> re.Pattern[str]:
        """The same, case-insensitive."""
        return re.compile(self._expression, re.IGNORECASE)

    @property
    def _expression(self) -> str:
        return "|".join(map(translate, self.patterns))


class RateCard:
    """Rates by model; the first row that matches and has begun applies."""

    def __init__(
        self,
        histories: Sequence[History],
        default_row: Row | None = None,
        version: int = 1,
        host: str = "",
    ) -> None:
        self.histories = tuple(histories)
        self.default_row = default_row
        """For all other models; None to refuse them."""
        self.version = version
        self.region = region_of(host)
        """That of the upstream; None: it has none."""
        self._today = 0
        self._kept: dict[_Key, Rates] = {}

    @property
    def default(self) -> Rates | None:
        """The rates of models without a row; None: they are refused."""
        return None if self.default_row is None else self.default_row.rates

    def rows(self, day: dt.date | None = None) -> tuple[Row, ...]:
        """The rows that count on a day, in the order of the card; today (UTC) by default."""
        day = _date_of(_today()) if day is None else day
        counting = (history.on(day) for history in self.histories)
        return tuple(row for row in counting if row is not None)

    def rates_for(
        self, model: str, conditions: Conditions = PLAIN, day: dt.date | None = None
    ) -> Rates:
        """Find the rates of a request.

        Args:
            model: the request's.
            conditions: what it asks for.
            day: the day of its hold; today (UTC) by default.

        Raises:
            UnpricedModel: the model, or another one in the conditions, has no rates.
            UnpricedTier, UnpricedWindow, UnpricedTool: its row has no price for it.

        """
        if day is not None:
            return self._make(model, conditions, day)
        if (today := time.time_ns() // _DAY_NS) != self._today:
            self._kept, self._today = {}, today
        # Most requests are plain: a name is found in half the time of a pair.
        key = model if conditions is PLAIN else (model, conditions)
        rates = self._kept.get(key)
        if rates is None:
            rates = self._make(model, conditions, _date_of(today))
            if len(model) <= _NAME_MAX:
                _keep(self._kept, key, rates)
        return rates

    def row_for(self, model: str, day: dt.date | None = None, field: str = "model") -> Row:
        """Find the row of a model.

        Args:
            model: its name.
            day: today (UTC) by default.
            field: what `UnpricedModel` calls the model.

        Raises:
            UnpricedModel: it has none.

        """
        day = _date_of(_today()) if day is None else day
        for history in self.histories:
            if history.matcher.match(model) and (row := history.on(day)) is not None:
                return row
        if self.default_row is None:
            raise UnpricedModel(model, field)
        # An upstream may take `GPT-4o` for a model that has a row, and the default may be cheaper.
        for history in self.histories:
            if history.loose_matcher.match(model) and (row := history.on(day)) is not None:
                return row
        return self.default_row

    def _make(self, model: str, conditions: Conditions, day: dt.date) -> Rates:
        row = self.row_for(model, day)
        if self.version == 1:
            return row.rates_for(conditions, {})
        named = {"image_model": conditions.image_model, "svg_model": conditions.svg_model}
        others = {
            field: self.row_for(name, day, field)
            for field, name in named.items()
            if name is not None
        }
        return row.rates_for(conditions, others, self.region)


def _keep(kept: dict[_Key, Rates], key: _Key, rates: Rates) -> None:
    # The text has the conditions.
    if len(rates.text) > _TEXT_MAX:
        return
    if len(kept) >= _KEPT_MAX:
        kept.clear()
    kept[key] = rates


def _today() -> int:
    """Days since 1970 (UTC)."""
    return time.time_ns() // _DAY_NS


def _date_of(days: int) -> dt.date:
    return _EPOCH + dt.timedelta(days=days)
