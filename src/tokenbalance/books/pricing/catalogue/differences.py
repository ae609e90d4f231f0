"""An operator's card compared with a catalogue, model by model. It changes neither.

Compared is what a row charges, whichever way it is written: a kind that it leaves out costs what
its parent does. What the catalogue lists no price for is left to the operator.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.catalogue.patterns import sample
from tokenbalance.books.pricing.catalogue.proposal import card_text
from tokenbalance.books.pricing.factors import ONE, exact_text
from tokenbalance.books.pricing.rate_card import UnpricedModel, read_rate_card
from tokenbalance.books.pricing.rates import decimal_text
from tokenbalance.books.pricing.units import CALL, SESSION

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from tokenbalance.books.pricing.catalogue.proposal import CreditUnit
    from tokenbalance.books.pricing.catalogue.terms import Catalogue, PricedModel
    from tokenbalance.books.pricing.rate_card import RateCard, Row

_OF_TEXT: Final = ("cached_input", "cache_write", "reasoning")
"""Kinds that cost what their parents do where the catalogue has no price of their own."""


@dataclass(frozen=True, slots=True)
class Change:
    """One price or factor that is not the same."""

    what: str
    """As on a card: `input`, `long.above`, `tier.flex`, `calls.web_search`."""
    old: str | None
    """On the operator's card; None: it has none."""
    new: str
    """By the catalogue."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A model that has a row, with other prices than in the catalogue."""

    model: PricedModel
    row: str
    """The patterns of the operator's row."""
    day: dt.date
    """From when on: the day that was asked for, or a later one with prices known already."""
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Differences:
    """What a card and a catalogue do not have in common."""

    missing: tuple[PricedModel, ...]
    """Models without a row, or with that of the default only; each with the names concerned."""
    different: tuple[Difference, ...]
    unknown: tuple[str, ...]
    """Patterns of rows that are for no model of the catalogue."""

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.missing or self.different or self.unknown)


def select(catalogue: Catalogue, glob: str) -> Catalogue:
    """Keep the models that have a name which matches."""
    kept = tuple(
        model
        for model in catalogue.models
        if any(fnmatchcase(name, glob) for name in (model.name, *map(sample, model.patterns)))
    )
    return replace(catalogue, models=kept)


def compare(catalogue: Catalogue, unit: CreditUnit, card: RateCard, day: dt.date) -> Differences:
    """Compare an operator's card with a catalogue, on a day and later as far as prices are known.

    Args:
        catalogue: what models cost.
        unit: what a credit of the operator's card is worth.
        card: the operator's.
        day: on which they are compared.

    """
    proposed = read_rate_card(card_text(catalogue, unit))
    missing: list[PricedModel] = []
    different: list[Difference] = []
    known: list[Row] = []
    for model in catalogue.models:
        names = _names(model)
        rows = {name: _row_of(card, name, day) for name in names}
        known += (row for row in rows.values() if row is not None)
        without = tuple(name for name, row in rows.items() if row is None)
        if without:
            missing.append(replace(model, patterns=_patterns_of(model, without)))
        for since in _days(model, day):
            different += _differences(model, rows, card, proposed, since)
    unknown = (row.pattern for row in card.rows(day) if all(row is not one for one in known))
    return Differences(tuple(missing), tuple(different), tuple(unknown))


def _names(model: PricedModel) -> list[str]:
    """Names of a model, without those that only spell its version in another way."""
    names = list(dict.fromkeys(_name(model, pattern) for pattern in model.patterns))
    return [name for name in names if _with_point(name) == name or _with_point(name) not in names]


def _name(model: PricedModel, pattern: str) -> str:
    """Return a name for a pattern: that of the model if it fits, or else one made up."""
    return model.name if fnmatchcase(model.name, pattern) else sample(pattern)


def _with_point(name: str) -> str:
    return re.sub(r"^(gpt-\d)-(\d)(?=-|$)", r"\1.\2", name)


def _patterns_of(model: PricedModel, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(pattern for pattern in model.patterns if _name(model, pattern) in names)


def _row_of(card: RateCard, name: str, day: dt.date) -> Row | None:
    """Find the row for a model; None: there is none but the default."""
    try:
        row = card.row_for(name, day)
    except UnpricedModel:
        return None
    return None if row is card.default_row else row


def _days(model: PricedModel, day: dt.date) -> list[dt.date]:
    later = (terms.since for terms in model.history if terms.since is not None)
    return [day, *(since for since in later if since > day)]


def _differences(
    model: PricedModel,
    names: Iterable[str],
    card: RateCard,
    proposed: RateCard,
    day: dt.date,
) -> list[Difference]:
    found: list[Difference] = []
    compared: list[Row] = []
    for name in names:
        row = _row_of(card, name, day)
        if row is None or any(row is one for one in compared):
            continue
        compared.append(row)
        changes = tuple(_changes(row, proposed.row_for(name, day)))
        if changes:
            found.append(Difference(model, row.pattern, day, changes))
    return found


def _changes(old: Row, new: Row) -> list[Change]:
    before, after = _prices(old), _prices(new)
    # What the row of the operator charges beyond these is nothing that the catalogue knows.
    inherited = after.keys() - {*map(_shown, new.nano), *_factors(new)}
    ignored = inherited - {kind for kind in _OF_TEXT if kind in old.nano}
    return [
        Change(what, before.get(what), price)
        for what, price in after.items()
        if what not in ignored and before.get(what) != price
    ]


def _prices(row: Row) -> dict[str, str]:
    """Everything that a row charges, by its name on a card."""
    rates = {_shown(kind): decimal_text(rate) for kind, rate in row.rates.nano.items()}
    return rates | _factors(row)


def _factors(row: Row) -> dict[str, str]:
    factors = {f"tier.{name}": exact_text(factor) for name, factor in row.tiers.items()}
    if row.long is not None:
        factors["long.above"] = str(row.long.above)
        factors["long.input"] = exact_text(row.long.input)
        factors["long.output"] = exact_text(row.long.output)
    if row.batch != ONE:
        factors["batch"] = exact_text(row.batch)
    return factors


def _shown(kind: str) -> str:
    for beginning in (CALL, SESSION):
        if kind.startswith(beginning):
            return f"calls.{kind.removeprefix(beginning)}"
    return kind
