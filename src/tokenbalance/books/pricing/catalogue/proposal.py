"""A catalogue as the text of a rate card, version 2: what `rates propose` prints.

Prices are micro-dollars in the catalogue and credits on the card. The text depends on nothing but
the catalogue and the unit, so that the same data always make the same card.
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.factors import ONE, exact_text
from tokenbalance.books.pricing.units import INPUT, OUTPUT, UNITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tokenbalance.books.pricing.catalogue.terms import Catalogue, PricedModel, Terms

_WIDTH: Final = 100
_NANO: Final = 10**9
_IN_ORDER: Final = (
    *UNITS.of(INPUT, media=True),
    *UNITS.of(OUTPUT, media=True),
    *UNITS.counts,
)
"""The kinds of a price list, as a row has them."""


@dataclass(frozen=True, slots=True)
class CreditUnit:
    """What one credit of a card is worth."""

    name: str
    microdollars: Fraction
    """Of one credit."""
    heading: str
    """The first lines of the card, as comments."""
    takes_all: bool
    """Whether models without a row are charged as the dearest, instead of refused."""


_MICRO_DOLLARS: Final = """\
One credit is one micro-dollar: a balance of 1,000,000 is one US dollar.

OpenAI lists prices in dollars for a million tokens. A dollar has a million micro-dollars, so the \
number in the list is the number of credits for one token, and can be copied as it stands: $0.15 \
for a million input tokens is input = 0.15. Prices of a thousand calls become credits for one call.

A model without a row is refused (404 model_not_found). OpenAI's default image model, \
gpt-image-2.6-sunburst, has no known price: requests with the image tool are refused until you add \
a row for it, unless they name an image model that has one.
"""
_WEIGHTED_TOKENS: Final = """\
One credit is one input token of gpt-6-luna, a small model. Credits stay close to tokens, but \
larger models and output weigh more, as they do in OpenAI's prices: 100,000 credits pay for \
100,000 tokens read by gpt-6-luna, or for 1,000 tokens written by gpt-6-sol.

Models that no row names are charged as the dearest of all, so that a new one can be used at once \
without becoming a bargain. To refuse them instead: unpriced = "refuse", and no table [default]. \
OpenAI's default image model, gpt-image-2.6-sunburst, has no known price: the image tool is \
charged as the dearest of all until you add a row for it, unless requests name an image model that \
has one.
"""
CREDIT_UNITS: Final[Mapping[str, CreditUnit]] = {
    unit.name: unit
    for unit in (
        CreditUnit("micro-dollars", Fraction(1), _MICRO_DOLLARS, takes_all=False),
        CreditUnit("weighted-tokens", Fraction(1, 10), _WEIGHTED_TOKENS, takes_all=True),
    )
}
"""By the names of `--unit`."""

_FOOTING: Final = """\
Made by `tokenbalance rates propose --unit {unit}` from {source} (MIT licence, copyright of its \
authors). Comments above a row are the catalogue's own; what the row charges otherwise is named \
after "Note". Prices change: compare them with https://developers.openai.com/api/docs/pricing \
before you rely on them.

Hosted tools without a fee in `calls`, and service tiers without a factor in `tier`, are refused. \
The fee of code_interpreter is that of a container of the smallest size. A cache write for \
12 hours without a rate costs what cache_write does.

The first row that matches counts.
"""


def card_text(catalogue: Catalogue, unit: CreditUnit) -> str:
    """Write a whole card."""
    footing = _FOOTING.format(unit=unit.name, source=catalogue.source)
    blocks = [
        _commented(unit.heading) + "#\n" + _commented(footing),
        _opening(catalogue, unit),
        *(rows_text(model, unit) for model in catalogue.models),
    ]
    return "\n".join(blocks)


def rows_text(model: PricedModel, unit: CreditUnit) -> str:
    """Write the rows of one model: one, or its history."""
    source = _commented(f"{model.name}\n{model.source}".strip())
    return source + "\n".join(_row(model, terms, unit) for terms in model.history)


def rates_of(terms: Terms, unit: CreditUnit) -> dict[str, Fraction]:
    """Return the rates of a row in credits, exact, input first; a card has them rounded up."""
    kinds = sorted(terms.rates, key=_IN_ORDER.index)
    return {kind: terms.rates[kind] / unit.microdollars for kind in kinds}


def _opening(catalogue: Catalogue, unit: CreditUnit) -> str:
    if not unit.takes_all:
        return 'version = 2\nunpriced = "refuse"\n'
    every = [rates_of(terms, unit) for model in catalogue.models for terms in model.history]
    dearest = {
        kind: max((rates.get(kind, Fraction(0)) for rates in every), default=Fraction(0))
        for kind in ("input", "output")
    }
    lines = [f"{kind} = {exact_text(rate)}" for kind, rate in dearest.items()]
    lines.append(f"calls = {_table({})}")
    return 'version = 2\nunpriced = "default"\n\n[default]\n' + "\n".join(lines) + "\n"


def _row(model: PricedModel, terms: Terms, unit: CreditUnit) -> str:
    lines = [f"match = {_match(model.patterns)}"]
    if terms.since is not None:
        lines.append(f"valid_from = {terms.since.isoformat()}")
    notes = list(terms.notes)
    for kind, rate in rates_of(terms, unit).items():
        rounded = Fraction(-(-rate * _NANO // 1), _NANO)
        if rounded != rate:
            notes.append(f"{kind} is {exact_text(rate)}, rounded up")
        lines.append(f"{kind} = {exact_text(rounded)}")
    if terms.long is not None:
        factors = {"input": terms.long.input, "output": terms.long.output}
        lines.append(f"long = {_table({'above': str(terms.long.above), **_factors(factors)})}")
    if terms.tiers:
        lines.append(f"tier = {_table(_factors(terms.tiers))}")
    if terms.fees or terms.rates.get("output"):
        # Empty too: tools whose fees are not known are refused then, and not free.
        fees = {tool: exact_text(fee / unit.microdollars) for tool, fee in terms.fees.items()}
        lines.append(f"calls = {_table(fees)}")
    if terms.batch != ONE:
        lines.append(f"batch = {_factor(terms.batch)}")
    noted = "".join(_commented(f"Note: {note}.") for note in notes)
    return noted + "\n".join(["[[models]]", *lines]) + "\n"


def _match(patterns: Iterable[str]) -> str:
    quoted = [json.dumps(pattern) for pattern in patterns]
    line = quoted[0] if len(quoted) == 1 else f"[{', '.join(quoted)}]"
    if len(line) + len("match = ") <= _WIDTH:
        return line
    return "[\n" + "".join(f"    {pattern},\n" for pattern in quoted) + "]"


def _factors(factors: Mapping[str, Fraction]) -> dict[str, str]:
    return {name: _factor(factor) for name, factor in factors.items()}


def _factor(factor: Fraction) -> str:
    text = exact_text(factor)
    return json.dumps(text) if "/" in text else text


def _table(items: Mapping[str, str]) -> str:
    if not items:
        return "{}"
    return "{ " + ", ".join(f"{name} = {value}" for name, value in items.items()) + " }"


def _commented(text: str) -> str:
    """Write text as comments; an empty line stays one."""
    lines = [
        line
        for paragraph in text.rstrip("\n").split("\n")
        for line in textwrap.wrap(
            paragraph, _WIDTH - 2, break_on_hyphens=False, break_long_words=False
        )
        or [""]
    ]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)
