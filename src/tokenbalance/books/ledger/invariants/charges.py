"""What must be true of each charge at rates: it is what `pricing.rates` computes of the usage.

The computation of `rates.py` once more, in another language, and made of the same table of kinds:
a further kind needs no SQL.
"""

from __future__ import annotations

from typing import Final

from tokenbalance.books.pricing.rates import AMOUNT_MAX
from tokenbalance.books.pricing.units import UNITS

QUANTITIES: Final = ", ".join(
    f"coalesce((quantities->'{kind}')::bigint, 0) AS {kind}" for kind in UNITS.tokens
)
"""Columns of a row of the ledger: what was used of each kind."""
CORRECTED_QUANTITIES: Final = ", ".join(
    f"coalesce(sum({kind}), 0) AS {kind}" for kind in UNITS.tokens
)
"""Columns of later rows of a request: what a correction has added to each kind."""

_RATES: Final = ", ".join(
    "coalesce(" + "".join(f"(rates->>'{name}')::numeric, " for name in ancestry) + f"0) AS {kind}"
    for kind, ancestry in UNITS.ancestry.items()
)
RATES: Final = f"""
       (SELECT rates, {_RATES}
          FROM (SELECT DISTINCT rates FROM ledger WHERE rates IS NOT NULL) used)
"""  # noqa: S608 - made of constants
"""All rates in use. There are few, so each is read only once."""


def _used(kind: str) -> str:
    return f"(e.{kind} + coalesce(l.{kind}, 0))"


def _of_side(side: str, parts: tuple[str, ...]) -> str:
    """Write the nano-credits of a side: each part takes what is left by those before it."""
    terms: list[str] = []
    left = _used(side)
    taken = ""
    for part in parts:
        taken += f" - {_used(part)}"
        after = f"greatest({_used(side)}{taken}, 0)"
        terms.append(f"({left} - {after}) * r.{part}")
        left = after
    return " + ".join((*terms, f"{left} * r.{side}"))


_TOTAL: Final = "(e.total + coalesce(l.total, 0))"
_IN_SIGHT: Final = " + ".join(_used(side) for side, _ in UNITS.sides)
_OF_SIDES: Final = " + ".join(_of_side(side, parts) for side, parts in UNITS.sides)
_HIDDEN: Final = f"greatest({_TOTAL} - ({_IN_SIGHT}), 0) * r.output"
DUE: Final = (
    f"CASE WHEN greatest({_IN_SIGHT}, {_TOTAL}) > 0"
    f" THEN least({AMOUNT_MAX}, ceil(r.request + {_OF_SIDES} + {_HIDDEN})) ELSE 0 END"
)
"""The credits for the usage of a row `e` and of its correction `l`, at the rates `r`."""
