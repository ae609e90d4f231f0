"""Reads a rate card: owns the format of the file.

Every mistake in a card is found when it is read, and reported with its line. A card of version 1
may name fewer keys, and asks for nothing but the model; what it says costs what it always cost.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, cast

from tokenbalance.books.pricing.factors import ONE
from tokenbalance.books.pricing.rate_card.card import History, RateCard
from tokenbalance.books.pricing.rate_card.mistakes import Mistake, RateCardError, parse_toml
from tokenbalance.books.pricing.rate_card.numbers import read_border, read_factor, read_rate
from tokenbalance.books.pricing.rate_card.reach import EarlierRows
from tokenbalance.books.pricing.rate_card.row import VERSION, Row
from tokenbalance.books.pricing.units import INPUT, OUTPUT, REQUEST, UNITS, fee_kind
from tokenbalance.model import Long

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tokenbalance.books.pricing.rate_card.mistakes import Place
    from tokenbalance.books.pricing.units import Units

Value = TypeVar("Value")
_Dated: TypeAlias = "dict[dt.date | None, tuple[int, Row]]"
"""Rows with the same patterns and their places in the card, by the first day."""

PER_MAX: Final = 10**9
_BYTES_MAX: Final = 256 * 1024

_REFUSE: Final = "refuse"
_DEFAULT: Final = "default"
CARD_KEYS: Final = ("version", "unpriced", "per", "default", "models")
_MATCH: Final = "match"
_BEGINS: Final = "valid_from"
ROW_KEYS: Final = (_MATCH, _BEGINS)
FACTOR_KEYS: Final = ("long", "tier", "window", "batch", "region", "calls")
_LONG_KEYS: Final = ("above", INPUT, OUTPUT)
_TIER: Final = re.compile(r"[a-z0-9_-]{1,32}")
_WINDOW: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_REGION: Final = re.compile(r"[a-z0-9-]{1,63}")
_TOOL: Final = re.compile(r"[a-z0-9_]{1,40}")


def load_rate_card(path: Path, host: str = "") -> RateCard:
    """Read a card.

    Args:
        path: the file.
        host: as in `read_rate_card`.

    Raises:
        RateCardError: it cannot be read, or something in it is wrong.

    """
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RateCardError(f"cannot be read ({type(error).__name__})") from None
    if len(content) > _BYTES_MAX:
        raise RateCardError(f"is longer than {_BYTES_MAX} bytes")
    return read_rate_card(text, host=host)


def read_rate_card(text: str, units: Units = UNITS, host: str = "") -> RateCard:
    """Read a card from its text.

    Args:
        text: TOML.
        units: the kinds that it may have rates for.
        host: that of the upstream, which decides the factor of its region.

    Raises:
        RateCardError: something in it is wrong.

    """
    try:
        return _Reader(parse_toml(text), units).card(host)
    except Mistake as mistake:
        raise mistake.error(text) from None


class _Reader:
    """Turns a parsed document into a card."""

    def __init__(self, document: Mapping[str, object], units: Units) -> None:
        self._document = document
        self._units = units
        self._version = 1
        self._per = 1

    def card(self, host: str) -> RateCard:
        _refuse_unknown((), self._document, CARD_KEYS)
        self._version = self._read_integer("version", 1, VERSION)
        self._per = self._read_integer("per", 1, PER_MAX)
        default = self._read_default()
        histories = self._read_models()
        if not histories and default is None:
            raise Mistake((), "it sets no rates")
        return RateCard(histories, default, self._version, host)

    def _read_integer(self, key: str, least: int, most: int) -> int:
        value = self._document.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise Mistake((key,), f"must be an integer from {least} to {most}")
        return value

    def _read_default(self) -> Row | None:
        unpriced = self._document.get("unpriced", _REFUSE)
        if not isinstance(unpriced, str) or unpriced not in {_REFUSE, _DEFAULT}:
            raise Mistake(("unpriced",), f'must be "{_REFUSE}" or "{_DEFAULT}"')
        place: Place = (_DEFAULT,)
        if unpriced == _REFUSE:
            if _DEFAULT in self._document:
                raise Mistake(place, f'has no effect without unpriced = "{_DEFAULT}"')
            return None
        if _DEFAULT not in self._document:
            raise Mistake(("unpriced",), "needs a table [default] with the rates to use")
        table = _table(place, self._document[_DEFAULT])
        self._refuse_unknown_prices(place, table)
        return self._read_row(place, table, ())

    def _read_models(self) -> Sequence[History]:
        tables = self._document.get("models", [])
        if not isinstance(tables, list):
            raise Mistake(("models",), "must be a list of tables, each with the header [[models]]")
        read: dict[tuple[str, ...], _Dated] = {}
        numbers: dict[tuple[str, ...], int] = {}
        earlier = EarlierRows()
        for index, value in enumerate(cast("list[object]", tables)):
            place: Place = ("models", index)
            table = _table(place, value)
            self._refuse_unknown_prices(place, table, ROW_KEYS)
            row = self._read_row(place, table, self._read_patterns(place, table))
            key = tuple(sorted(row.patterns))
            number = numbers.setdefault(key, len(numbers))
            same = read.setdefault(key, {})
            _refuse_twice(place, row, same)
            same[row.begins] = (index, row)
            _refuse_unreachable(place, row, number, earlier)
            earlier.add(number, index, row)
        return [History([row for _, row in rows.values()]) for rows in read.values()]

    def _refuse_unknown_prices(
        self, place: Place, table: Mapping[str, object], others: tuple[str, ...] = ()
    ) -> None:
        known = (*others, *self._units.priced_in(VERSION), *FACTOR_KEYS)
        allowed = known
        if self._version == 1:
            allowed = tuple(
                key for key in known if key == _MATCH or key in self._units.priced_in(1)
            )
        for key in table:
            if key in known and key not in allowed:
                raise Mistake((*place, key), "needs version = 2 at the top of the card")
        _refuse_unknown(place, table, allowed)

    def _read_patterns(self, place: Place, table: Mapping[str, object]) -> tuple[str, ...]:
        if _MATCH not in table:
            raise Mistake(place, "has no match (a pattern for names of models, such as gpt-4o*)")
        place, value = (*place, _MATCH), table[_MATCH]
        patterns = cast("list[object]", value) if isinstance(value, list) else [value]
        if isinstance(value, list) and self._version == 1:
            raise Mistake(place, "a list of patterns needs version = 2 at the top of the card")
        if not patterns or not all(isinstance(each, str) and each for each in patterns):
            raise Mistake(place, "must be a pattern, such as gpt-4o*")
        return tuple(cast("list[str]", patterns))

    def _read_row(
        self, place: Place, table: Mapping[str, object], patterns: tuple[str, ...]
    ) -> Row:
        calls = _read_named(place, table, "calls", _TOOL, read_rate)
        return Row(
            patterns=patterns,
            nano={**self._read_rates(place, table), **_by_kind(calls)},
            begins=_read_day(place, table),
            tiers=_read_named(place, table, "tier", _TIER, read_factor),
            windows=_read_named(place, table, "window", _WINDOW, read_factor),
            regions=_read_named(place, table, "region", _REGION, read_factor),
            batch=read_factor((*place, "batch"), table.get("batch", 1)),
            long=_read_long(place, table),
            has_fees="calls" in table,
            version=self._version,
            units=self._units,
        )

    def _read_rates(self, place: Place, table: Mapping[str, object]) -> Mapping[str, int]:
        tokens = set(self._units.tokens)
        nano = {
            # The rate of what is not a token is for one, whatever `per` says.
            kind: read_rate((*place, kind), table[kind], self._per if kind in tokens else 1)
            for kind in self._units.names
            if kind in table
        }
        if not nano and "calls" not in table:
            raise Mistake(place, "has no rates")
        # Output must not be free only because its rate was forgotten.
        untaxed = {REQUEST, *self._units.counts}
        for kind in (INPUT, OUTPUT):
            if kind not in nano and not nano.keys() <= untaxed:
                raise Mistake(place, f"has no rate for {kind} (write {kind} = 0 if it is free)")
        return nano


def _table(place: Place, value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise Mistake(place, "must be a table")
    return cast("Mapping[str, object]", value)


def _refuse_unknown(place: Place, table: Mapping[str, object], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise Mistake((*place, key), f"is not a known key; use one of {', '.join(known)}")


def _read_named(
    place: Place,
    table: Mapping[str, object],
    key: str,
    name: re.Pattern[str],
    read: Callable[[Place, object], Value],
) -> dict[str, Value]:
    """Read a table of numbers by name, if there is one."""
    if key not in table:
        return {}
    place = (*place, key)
    named = _table(place, table[key])
    for each in named:
        if not name.fullmatch(each):
            raise Mistake((*place, each), f"is not a name of a {_NAMED[key]}")
    return {each: read((*place, each), value) for each, value in named.items()}


_NAMED: Final = {
    "calls": "tool, such as web_search",
    "tier": "service tier, such as flex",
    "window": "completion window, such as 24h",
    "region": "region, such as eu",
}


def _by_kind(calls: Mapping[str, int]) -> dict[str, int]:
    return {fee_kind(tool): fee for tool, fee in calls.items()}


def _read_day(place: Place, table: Mapping[str, object]) -> dt.date | None:
    if _BEGINS not in table:
        return None
    day = table[_BEGINS]
    if not isinstance(day, dt.date) or isinstance(day, dt.datetime):
        raise Mistake((*place, _BEGINS), "must be a date, such as 2026-11-17, without quotes")
    return day


def _read_long(place: Place, table: Mapping[str, object]) -> Long | None:
    if "long" not in table:
        return None
    place = (*place, "long")
    long = _table(place, table["long"])
    _refuse_unknown(place, long, _LONG_KEYS)
    if "above" not in long:
        raise Mistake(place, "has no above (the tokens of input up to which it does not apply)")
    if not long.keys() & {INPUT, OUTPUT}:
        raise Mistake(place, "has no factor (input, output or both)")
    return Long(
        above=read_border((*place, "above"), long["above"]),
        input=read_factor((*place, INPUT), long.get(INPUT, ONE.numerator)),
        output=read_factor((*place, OUTPUT), long.get(OUTPUT, ONE.numerator)),
    )


def _refuse_twice(place: Place, row: Row, same: _Dated) -> None:
    if row.begins not in same:
        return
    index, _ = same[row.begins]
    if row.begins is None:
        message = f"can never match: models[{index}] comes first and matches them all"
        raise Mistake((*place, _MATCH), message)
    message = f"is that of models[{index}] too, which has the same match"
    raise Mistake((*place, _BEGINS), message)


def _refuse_unreachable(place: Place, row: Row, number: int, earlier: EarlierRows) -> None:
    """Refuse a row with a pattern that an earlier row takes everything from, on any day."""
    cover = earlier.cover_of(number, row)
    if cover is not None:
        which = "" if len(row.patterns) == 1 else f"{cover.pattern} "
        message = f"{which}can never match: models[{cover.row}] comes first and matches them all"
        raise Mistake((*place, _MATCH), message)
