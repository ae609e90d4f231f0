"""The rate card as people and programs read it: what each row asks today, as exact decimals.

It shows what a card says, and must never decide for a model or compute a charge: the card and
`rates` do.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from tokenbalance.books.pricing.factors import exact_text
from tokenbalance.books.pricing.rate_card import UnpricedModel
from tokenbalance.books.pricing.rate_card.row import VERSION
from tokenbalance.books.pricing.rates import rates_document
from tokenbalance.books.pricing.units import CALL, INPUT, OUTPUT, SESSION, UNITS, fee_kind, is_fee
from tokenbalance.database.paging import NOT_A_CURSOR, InvalidCursor, Page, cursor, read_cursor
from tokenbalance.model import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date
    from fractions import Fraction

    from tokenbalance.books.pricing.rate_card import RateCard, Row
    from tokenbalance.books.pricing.rate_card.card import History

EVERY_MODEL: Final = "*"
_IN_COLUMNS: Final = (INPUT, "cached_input", OUTPUT)
"""Kinds that tables have a column for."""
PRICE_COLUMNS: Final = (
    *("models", "valid_from", "long_above", "long_input", "long_output"),
    *("tiers", "calls", "batch", "windows", "region"),
    *UNITS.priced_in(VERSION),
)


@dataclass(frozen=True, slots=True)
class LongPrice:
    """What a request with a long input costs more."""

    above: int
    """Tokens of input up to which it is not long."""
    input: str
    """The factor of all input."""
    output: str
    """The factor of all output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One row of a card: credits for one unit of each kind, and what multiplies them."""

    models: tuple[str, ...]
    """Patterns of names; `EVERY_MODEL` alone for those that no earlier row matches."""
    is_default: bool = False
    """It is the row for models that no other matches."""
    valid_from: date | None = None
    """The first day, in UTC, on which it applies; None: it always has."""
    rates: Mapping[str, str]
    """By kind: every kind of token, filled in where the card leaves it out; of other units, those
    that cost something."""
    long: LongPrice | None = None
    tiers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Factors by service tier of the response."""
    calls: Mapping[str, str] = field(default_factory=dict[str, str])
    """Credits for a call of a tool that the upstream runs, or for a session of it, by its name."""
    batch: str | None = None
    """The factor of requests in batches; None: 1."""
    windows: Mapping[str, str] = field(default_factory=dict[str, str])
    """Factors by completion window in the background."""
    region: str | None = None
    """The factor of the region of this server's upstream; None: 1."""
    next: Price | None = None
    """What replaces it on a later day, if the card says so already."""

    @property
    def others(self) -> Sequence[tuple[str, str]]:
        """Rates beside those in columns, by label: those that are not what the parent costs."""
        return [
            (unit.label, self.rates[unit.name])
            for unit in UNITS.rows
            if unit.name in self.rates
            and unit.name not in _IN_COLUMNS
            and self.rates[unit.name] != self.rates.get(unit.parent or "", "0")
        ]

    @property
    def fees(self) -> Sequence[tuple[str, str, str]]:
        """Fees of tools: for what, how many credits, and by what they are counted."""
        return [
            (tool.replace("_", " ").capitalize(), fee, _counted_by(tool))
            for tool, fee in self.calls.items()
        ]


@dataclass(frozen=True, slots=True)
class PriceList:
    """A card on one day."""

    card: RateCard | None
    """None: every token is one credit."""
    day: date
    """In UTC."""

    @classmethod
    def today(cls, card: RateCard | None) -> PriceList:
        """List what the card asks today."""
        return cls(card, datetime.now(UTC).date())

    @property
    def unpriced(self) -> Literal["refuse", "default"] | None:
        """What happens to models without a row; None without a card."""
        if self.card is None:
            return None
        return "refuse" if self.card.default_row is None else "default"

    @property
    def rows(self) -> Sequence[Price]:
        """All rows in the order of the card: the first that matches a model counts."""
        return self._priced(lambda _: True)

    def of(self, model: str) -> Sequence[Price]:
        """Return the row by which requests for this model are charged; nothing if refused."""
        matching = self._row_for(model)
        return self._priced(lambda row: row is matching)

    def found(self, text: str) -> Sequence[Price]:
        """Return the rows whose patterns have this text in them, or that match it as a name."""
        if not text:
            return self.rows
        matching, small = self._row_for(text), text.lower()
        return self._priced(
            lambda row: row is matching or any(small in each.lower() for each in row.patterns)
        )

    @staticmethod
    def page(rows: Sequence[Price], after: str | None, limit: int) -> Page[Price]:
        """Return a page of rows.

        Raises:
            InvalidCursor: `after` is not a cursor of this list.

        """
        start = 0 if after is None else _number_of(after)
        end = start + limit
        return Page(rows[start:end], cursor((end,)) if end < len(rows) else None)

    def _priced(self, is_wanted: Callable[[Row], bool]) -> Sequence[Price]:
        card = self.card
        if card is None:
            return ()
        rows = [(one.on(self.day), _following(one, self.day)) for one in card.histories]
        rows.append((card.default_row, None))
        return [
            _with_next(row, following, card.region)
            for row, following in rows
            if row is not None and is_wanted(row)
        ]

    def _row_for(self, model: str) -> Row | None:
        if self.card is None:
            return None
        try:
            return self.card.row_for(model, self.day)
        except UnpricedModel:
            return None


def price_cells(row: Price) -> list[str | int | None]:
    """Write a row as `PRICE_COLUMNS` has it; several of a thing as `name=value`."""
    long = row.long
    return [
        " ".join(row.models),
        row.valid_from.isoformat() if row.valid_from else None,
        *((None, None, None) if long is None else (long.above, long.input, long.output)),
        _pairs(row.tiers),
        _pairs(row.calls),
        row.batch,
        _pairs(row.windows),
        row.region,
        *(row.rates.get(kind) for kind in UNITS.priced_in(VERSION)),
    ]


def _pairs(values: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def _number_of(after: str) -> int:
    (number,) = read_cursor(after, (int,))
    if not isinstance(number, int) or number < 0:
        raise InvalidCursor(NOT_A_CURSOR)
    return number


def _counted_by(tool: str) -> str:
    return "session" if fee_kind(tool).startswith(SESSION) else "call"


def _following(history: History, day: date) -> Row | None:
    """Find the row that is the next to begin."""
    oldest_first = reversed(history.rows)
    return next((row for row in oldest_first if row.begins and row.begins > day), None)


def _with_next(row: Row, following: Row | None, region: str | None) -> Price:
    price = _price_of(row, region)
    return price if following is None else replace(price, next=_price_of(following, region))


def _price_of(row: Row, region: str | None) -> Price:
    document = rates_document(row.rates)
    factors, long = row.factors_for(PLAIN, region), row.long
    return Price(
        models=row.patterns or (EVERY_MODEL,),
        is_default=not row.patterns,
        valid_from=row.begins,
        rates={kind: rate for kind, rate in document.items() if not is_fee(kind)},
        long=long and LongPrice(long.above, exact_text(long.input), exact_text(long.output)),
        tiers=_texts(row.tiers),
        calls={_tool_of(kind): fee for kind, fee in document.items() if is_fee(kind)},
        batch=None if row.batch == 1 else exact_text(row.batch),
        windows=_texts(row.windows),
        region=None if factors is None or not factors.always else exact_text(factors.always),
    )


def _texts(factors: Mapping[str, Fraction]) -> Mapping[str, str]:
    return {name: exact_text(factor) for name, factor in factors.items()}


def _tool_of(kind: str) -> str:
    return kind.removeprefix(CALL).removeprefix(SESSION)
