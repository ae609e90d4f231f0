"""Prints a proposed rate card, or how the operator's differs from it."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.catalogue.additions import with_additions
from tokenbalance.books.pricing.catalogue.differences import Differences, compare, select
from tokenbalance.books.pricing.catalogue.proposal import CREDIT_UNITS, card_text, rows_text
from tokenbalance.books.pricing.catalogue.terms import CatalogueError
from tokenbalance.books.pricing.rate_card import RateCardError, load_rate_card
from tokenbalance.cli.output import counted, print_aside, print_json, print_line
from tokenbalance.settings import load_settings

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from tokenbalance.books.pricing.catalogue.differences import Difference
    from tokenbalance.books.pricing.catalogue.proposal import CreditUnit
    from tokenbalance.books.pricing.catalogue.terms import Catalogue
    from tokenbalance.books.pricing.rate_card import RateCard
    from tokenbalance.cli.output import Document

_REQUIREMENT: Final = "genai-prices==0.2.3"
"""What the extra `prices` has: the same command works in a checkout and where it is installed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to print."""

    unit_name: str
    models: str
    """A glob for their names."""
    day: dt.date
    as_json: bool

    @property
    def unit(self) -> CreditUnit:
        """What a credit is worth."""
        return CREDIT_UNITS[self.unit_name]


def print_either(wanted: Wanted, file: Path | None) -> bool:
    """Print the difference to the operator's card if there is one, else a whole card.

    Args:
        wanted: what to print.
        file: the operator's card; None: that of the settings.

    Returns:
        Whether there is a difference.

    Raises:
        CatalogueError: there are no prices to compare with, or not that card.

    """
    card = _load(file) if file is not None else None
    if file is None:
        settings = load_settings()
        file, card = settings.rate_card, settings.rates
    if file is None or card is None:
        return print_card(wanted)
    return _print_differences(wanted, file, card)


def print_card(wanted: Wanted) -> bool:
    """Print a whole card; it differs from none."""
    catalogue = _catalogue(wanted)
    text = card_text(catalogue, wanted.unit)
    if wanted.as_json:
        print_json({**_said(wanted, catalogue), "card": text})
    else:
        print_line(text.rstrip("\n"))
    return False


def _load(file: Path) -> RateCard:
    try:
        return load_rate_card(file)
    except RateCardError as error:
        raise CatalogueError(f"{file}: {error}") from None


def _catalogue(wanted: Wanted) -> Catalogue:
    try:
        from tokenbalance.books.pricing.catalogue.genai import (  # noqa: PLC0415 - an optional package
            read_genai_prices,
        )
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("genai_prices"):
            raise
        raise CatalogueError(_not_installed()) from None
    catalogue = select(with_additions(read_genai_prices(wanted.day)), wanted.models)
    if not catalogue.models:
        raise CatalogueError(f"{catalogue.source} has no model like {wanted.models!a}")
    return catalogue


def _not_installed() -> str:
    # A checkout may have uv alone.
    installer = ["pip"] if find_spec("pip") else ["uv", "pip"]
    command = shlex.join([sys.executable, "-m", *installer, "install", _REQUIREMENT])
    return f"genai-prices is not installed: run {command}"


def _print_differences(wanted: Wanted, file: Path, card: RateCard) -> bool:
    catalogue = _catalogue(wanted)
    found = compare(catalogue, wanted.unit, card, wanted.day)
    if wanted.models != "*":
        # Of rows that are for none of a few models nothing follows.
        found = Differences(found.missing, found.different, ())
    if wanted.as_json:
        print_json({**_said(wanted, catalogue), **_document(found, file, wanted.unit)})
    else:
        _print(found, catalogue, file, wanted.unit)
        if found and card.version == 1:
            print_aside(f"Factors, fees and other kinds need version = 2 at the top of {file}.")
    return bool(found)


def _said(wanted: Wanted, catalogue: Catalogue) -> dict[str, Document]:
    return {
        "source": catalogue.source,
        "day": wanted.day.isoformat(),
        "unit": wanted.unit_name,
        "models": len(catalogue.models),
    }


def _document(found: Differences, file: Path, unit: CreditUnit) -> dict[str, Document]:
    return {
        "file": str(file),
        "missing": [
            {
                "model": model.name,
                "match": list(model.patterns),
                "rows": rows_text(model, unit),
                "source": model.source,
            }
            for model in found.missing
        ],
        "different": [
            {
                "model": one.model.name,
                "match": one.row,
                "from": one.day.isoformat(),
                "changes": [
                    {"what": change.what, "old": change.old, "new": change.new}
                    for change in one.changes
                ],
                "source": one.model.source,
            }
            for one in found.different
        ],
        "unknown": list(found.unknown),
    }


def _print(found: Differences, catalogue: Catalogue, file: Path, unit: CreditUnit) -> None:
    for one in found.different:
        _print_difference(one, catalogue)
    for model in found.missing:
        print_line(f"{model.name}: no row for {', '.join(model.patterns)}; proposed:\n")
        print_line(
            "".join(f"    {line}".rstrip() + "\n" for line in rows_text(model, unit).splitlines())
        )
    for pattern in found.unknown:
        print_line(f"{pattern}: for no model of {catalogue.source}; keep it if it is your own\n")
    print_line(
        f"{file} and {catalogue.source}:"
        f" {counted(len(found.different), 'row')} with other prices,"
        f" {counted(len(found.missing), 'model')} without a row,"
        f" {counted(len(found.unknown), 'row')} for other models"
    )


def _print_difference(one: Difference, catalogue: Catalogue) -> None:
    print_line(f"{one.model.name}, priced by the row {one.row}, from {one.day.isoformat()}:")
    for change in one.changes:
        print_line(f"    {change.what} {change.old or 'none'} -> {change.new}")
    print_line(f"    source: {catalogue.source}. {one.model.source}".rstrip() + "\n")
