"""The rate card: a TOML file with the rates of models.

Owns the format of the file. Every mistake in a card is found when it is read, and reported with its
line. A card that was read decides for every model: its rates, or that it is refused.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase, translate
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Final, NoReturn, cast

from tokenbalance.books.pricing.rates import NANO, build_rates
from tokenbalance.books.pricing.units import INPUT, OUTPUT, REQUEST, UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tokenbalance.books.pricing.units import Units
    from tokenbalance.model import Rates

CREDITS_MAX: Final = 1_000_000
"""The most credits for one token, or for one request."""
DECIMALS_MAX: Final = 9
PER_MAX: Final = 10**9
_BYTES_MAX: Final = 256 * 1024
_DIGITS_MAX: Final = 40
"""The most digits of a number; a card with more has a mistake in it."""

_REFUSE: Final = "refuse"
_DEFAULT: Final = "default"
_CARD_KEYS: Final = ("unpriced", "per", "default", "models")
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_WILDCARD: Final = re.compile(r"\[!?\]?[^\]]*\]|[*?]")


class RateCardError(ValueError):
    """The card cannot be used; the message is one line, with the line number of the mistake."""


class UnpricedModel(LookupError):
    """The card has no rate for this model, and refuses models without one."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model


@dataclass(frozen=True)
class PricedModels:
    """One row of a card: the rates of the models whose names match."""

    pattern: str
    """A glob with `*`, `?` and `[...]`; case-sensitive."""
    rates: Rates

    @cached_property
    def matcher(self) -> re.Pattern[str]:
        """The pattern as a regular expression."""
        return re.compile(translate(self.pattern))

    @cached_property
    def loose_matcher(self) -> re.Pattern[str]:
        """The same, case-insensitive."""
        return re.compile(translate(self.pattern), re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RateCard:
    """Rates by model; the first row that matches applies."""

    models: tuple[PricedModels, ...]
    default: Rates | None
    """The rates of all other models; None to refuse them."""

    def rates_for(self, model: str) -> Rates:
        """Find the rates of a model.

        Raises:
            UnpricedModel: it has no rates.

        """
        for row in self.models:
            if row.matcher.match(model):
                return row.rates
        if self.default is None:
            raise UnpricedModel(model)
        # An upstream may take `GPT-4o` for a model that has a row, and the default may be cheaper.
        for row in self.models:
            if row.loose_matcher.match(model):
                return row.rates
        return self.default


def load_rate_card(path: Path) -> RateCard:
    """Read a card.

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
    return read_rate_card(text)


def read_rate_card(text: str, units: Units = UNITS) -> RateCard:
    """Read a card from its text.

    Raises:
        RateCardError: something in it is wrong.

    """
    try:
        return _Reader(_parse(text), units).card()
    except _Wrong as wrong:
        line = _line_of(text, wrong.path)
        raise RateCardError(f"line {line}: {_shown(wrong.path)}{wrong.reason}") from None


_Path = tuple[str | int, ...]


class _Wrong(Exception):
    def __init__(self, path: _Path, reason: str) -> None:
        super().__init__(reason)
        self.path = path
        self.reason = reason


class _Reader:
    """Turns a parsed document into a card."""

    def __init__(self, document: Mapping[str, object], units: Units) -> None:
        self._document = document
        self._units = units
        self._per = 1

    def card(self) -> RateCard:
        _refuse_unknown((), self._document, _CARD_KEYS)
        self._per = self._read_per()
        default = self._read_default()
        models = self._read_models()
        if not models and default is None:
            raise _Wrong((), "it sets no rates")
        return RateCard(models, default)

    def _read_per(self) -> int:
        per = self._document.get("per", 1)
        if not isinstance(per, int) or isinstance(per, bool) or not 1 <= per <= PER_MAX:
            raise _Wrong(("per",), f"must be an integer from 1 to {PER_MAX}")
        return per

    def _read_default(self) -> Rates | None:
        unpriced = self._document.get("unpriced", _REFUSE)
        if not isinstance(unpriced, str) or unpriced not in {_REFUSE, _DEFAULT}:
            raise _Wrong(("unpriced",), f'must be "{_REFUSE}" or "{_DEFAULT}"')
        path: _Path = (_DEFAULT,)
        if unpriced == _REFUSE:
            if _DEFAULT in self._document:
                raise _Wrong(path, f'has no effect without unpriced = "{_DEFAULT}"')
            return None
        if _DEFAULT not in self._document:
            raise _Wrong(("unpriced",), "needs a table [default] with the rates to use")
        table = _table(path, self._document[_DEFAULT])
        _refuse_unknown(path, table, self._units.names)
        return self._read_rates(path, table)

    def _read_models(self) -> tuple[PricedModels, ...]:
        rows = self._document.get("models", [])
        if not isinstance(rows, list):
            raise _Wrong(("models",), "must be a list of tables, each with the header [[models]]")
        read: list[PricedModels] = []
        for index, row in enumerate(cast("list[object]", rows)):
            path: _Path = ("models", index)
            table = _table(path, row)
            _refuse_unknown(path, table, ("match", *self._units.names))
            pattern = _read_pattern(path, table)
            _refuse_unreachable((*path, "match"), pattern, [earlier.pattern for earlier in read])
            read.append(PricedModels(pattern, self._read_rates(path, table)))
        return tuple(read)

    def _read_rates(self, path: _Path, table: Mapping[str, object]) -> Rates:
        nano = {
            kind: self._read_rate((*path, kind), table[kind])
            for kind in self._units.names
            if kind in table
        }
        if not nano:
            raise _Wrong(path, "has no rates")
        # Output must not be free only because its rate was forgotten.
        for kind in (INPUT, OUTPUT):
            if kind not in nano and set(nano) != {REQUEST}:
                raise _Wrong(path, f"has no rate for {kind} (write {kind} = 0 if it is free)")
        return build_rates(nano, self._units)

    def _read_rate(self, path: _Path, value: object) -> int:
        rate = _number(path, value)
        if rate < 0:
            raise _Wrong(path, "must not be negative")
        # The rate of a request is for one request, whatever `per` says.
        per = 1 if path[-1] == REQUEST else self._per
        if rate > CREDITS_MAX * per:
            raise _Wrong(path, f"must not be more than {CREDITS_MAX} credits{_each(path, per)}")
        nano = Fraction(rate) * NANO / per
        if nano.denominator != 1:
            message = f"must not have more than {DECIMALS_MAX} decimal places{_each(path, per)}"
            raise _Wrong(path, message)
        return nano.numerator


def _parse(text: str) -> Mapping[str, object]:
    try:
        return cast("Mapping[str, object]", tomllib.loads(text, parse_float=Decimal))
    except ValueError as error:  # that of tomllib, or of a number with thousands of digits
        _raise_syntax(text, str(error))
    except RecursionError:
        _raise_syntax(text, "It is nested too deeply")


def _raise_syntax(text: str, message: str) -> NoReturn:
    place = _PLACE.search(message)
    at = None if place is None else cast("str | None", place[1])
    line = max(len(text.splitlines()), 1) if at is None else int(at)
    raise RateCardError(f"line {line}: {_PLACE.sub('', message)}") from None


def _table(path: _Path, value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _Wrong(path, "must be a table")
    return cast("Mapping[str, object]", value)


def _refuse_unknown(path: _Path, table: Mapping[str, object], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise _Wrong((*path, key), f"is not a known key; use one of {', '.join(known)}")


def _read_pattern(path: _Path, table: Mapping[str, object]) -> str:
    if "match" not in table:
        raise _Wrong(path, "has no match (a pattern for names of models, such as gpt-4o*)")
    pattern = table["match"]
    if not isinstance(pattern, str) or not pattern:
        raise _Wrong((*path, "match"), "must be a pattern, such as gpt-4o*")
    return pattern


def _refuse_unreachable(path: _Path, pattern: str, earlier: list[str]) -> None:
    for index, other in enumerate(earlier):
        if _covers(other, pattern):
            raise _Wrong(path, f"can never match: models[{index}] comes first and matches them all")


def _covers(pattern: str, other: str) -> bool:
    """Whether `pattern` matches everything that `other` does; False if that is not obvious."""
    if pattern == other:
        return True
    literal, count = _WILDCARD.subn("\0", other)
    if count and _WILDCARD.search(pattern.replace("*", "")):
        return False
    # A placeholder for a wildcard is matched only by a star, which matches all that it may be.
    return fnmatchcase(literal, pattern)


def _number(path: _Path, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _Wrong(path, "must be a number")
    number = Decimal(value)
    if not number.is_finite():
        raise _Wrong(path, "must be a number")
    _, digits, exponent = number.as_tuple()
    if len(digits) > _DIGITS_MAX or abs(cast("int", exponent)) > _DIGITS_MAX:
        raise _Wrong(path, "has too many digits")
    return number


def _each(path: _Path, per: int) -> str:
    if path[-1] == REQUEST:
        return ""
    return " per token" if per == 1 else f" per token, and this rate is per {per} tokens"


def _shown(path: _Path) -> str:
    if not path:
        return ""
    names = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    shown = "".join(names).removeprefix(".")
    return f"{shown if shown.isprintable() else ascii(shown)}: "


def _line_of(text: str, path: _Path) -> int:
    """Find the line on which the statement starts that sets the value at `path`.

    It parses ever more lines from the top until the document has the value; so it need not know the
    ways in which TOML can be written.
    """
    lines = text.splitlines(keepends=True)
    begins = 1
    for number in range(1, len(lines) + 1):
        try:
            document: object = tomllib.loads("".join(lines[:number]), parse_float=Decimal)
        except tomllib.TOMLDecodeError:
            continue
        if path and _has(document, path):
            return begins
        begins = number + 1
    return 1


def _has(document: object, path: _Path) -> bool:
    for part in path:
        if isinstance(part, int):
            if not isinstance(document, list) or part >= len(cast("list[object]", document)):
                return False
            document = cast("list[object]", document)[part]
        else:
            if not isinstance(document, dict) or part not in document:
                return False
            document = cast("dict[str, object]", document)[part]
    return True
