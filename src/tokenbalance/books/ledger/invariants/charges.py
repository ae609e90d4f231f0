"""What must be true of each charge at rates: it is what `pricing.rates` computes of the usage.

The computation of `rates.py` once more, in another language, and made of the same table of kinds:
a further kind needs no SQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.books.pricing.rates import AMOUNT_MAX
from tokenbalance.books.pricing.units import UNITS

if TYPE_CHECKING:
    from tokenbalance.books.pricing.units import Units


def quantities(units: Units = UNITS) -> str:
    """Write the columns of a row of the ledger: what was used of each kind."""
    return ", ".join(
        f"coalesce((quantities->'{kind}')::bigint, 0) AS {kind}" for kind in units.tokens
    )


def corrections(units: Units = UNITS) -> str:
    """Write the columns of the later rows of a request: what they add to each kind."""
    return ", ".join(f"coalesce(sum({kind}), 0) AS {kind}" for kind in units.tokens)


def rates(units: Units = UNITS) -> str:
    """Write the columns of rates: the rate of each kind, as numbers."""
    return ", ".join(
        "coalesce(" + "".join(f"(rates->>'{name}')::numeric, " for name in names) + f"0) AS {kind}"
        for kind, names in units.ancestry.items()
    )


def due(units: Units = UNITS) -> str:
    """Write the credits for the usage of a row `e` and of its correction `l`, at the rates `r`."""
    total = "(e.total + coalesce(l.total, 0))"
    in_sight = " + ".join(_used(side) for side, _ in units.sides)
    of_sides = " + ".join(_of_side(side, parts) for side, parts in units.sides)
    return (
        f"CASE WHEN greatest({in_sight}, {total}) > 0"
        f" THEN least({AMOUNT_MAX}, ceil(r.request + {of_sides}"
        f" + greatest({total} - ({in_sight}), 0) * r.output)) ELSE 0 END"
    )


def _used(kind: str) -> str:
    return f"(e.{kind} + coalesce(l.{kind}, 0))"


def _of_side(side: str, parts: tuple[str, ...]) -> str:
    """Write the credits of a side: each part takes what is left by those before it."""
    terms: list[str] = []
    left = _used(side)
    taken = ""
    for part in parts:
        taken += f" - {_used(part)}"
        after = f"greatest({_used(side)}{taken}, 0)"
        terms.append(f"({left} - {after}) * r.{part}")
        left = after
    return " + ".join((*terms, f"{left} * r.{side}"))
