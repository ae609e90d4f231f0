"""What must be true of each charge at rates: it is what `pricing.rates` computes of the usage.

The computation of `rates.py` once more, in another language, and made of the same table of kinds:
a further kind needs no SQL.
"""

from __future__ import annotations

from typing import Final

from tokenbalance.books.pricing.rates import AMOUNT_MAX, SIDES

KINDS: Final = tuple(kind for side, parts in SIDES.items() for kind in (side, *parts))

QUANTITIES: Final = ", ".join(
    f"coalesce((quantities->'{kind}')::bigint, 0) AS {kind}" for kind in KINDS
)
"""Columns of a row of the ledger: what was used of each kind."""
CORRECTED_QUANTITIES: Final = ", ".join(f"coalesce(sum({kind}), 0) AS {kind}" for kind in KINDS)
"""Columns of later rows of a request: what a correction has added to each kind."""

_RATES: Final = ", ".join(
    f"coalesce((rates->>'{kind}')::numeric, (rates->>'{side}')::numeric, 0) AS {kind}"
    for side, parts in SIDES.items()
    for kind in (side, *parts)
)
RATES: Final = f"""
       (SELECT rates, coalesce((rates->>'request')::numeric, 0) AS request, {_RATES}
          FROM (SELECT DISTINCT rates FROM ledger WHERE rates IS NOT NULL) used)
"""  # noqa: S608 - made of constants
"""All rates in use. There are few, so each is read only once."""


def _used(kind: str) -> str:
    return f"(e.{kind} + coalesce(l.{kind}, 0))"


def _of_side(side: str) -> str:
    """Write the nano-credits of a side: each part takes what is left by those before it."""
    terms: list[str] = []
    left = _used(side)
    taken = ""
    for part in SIDES[side]:
        taken += f" - {_used(part)}"
        after = f"greatest({_used(side)}{taken}, 0)"
        terms.append(f"({left} - {after}) * r.{part}")
        left = after
    return " + ".join((*terms, f"{left} * r.{side}"))


_TOTAL: Final = "(e.total + coalesce(l.total, 0))"
_HIDDEN: Final = f"greatest({_TOTAL} - {_used('input')} - {_used('output')}, 0) * r.output"
DUE: Final = (
    f"CASE WHEN greatest({_used('input')}, {_used('output')}, {_TOTAL}) > 0"
    f" THEN least({AMOUNT_MAX}, ceil(r.request + {_of_side('input')} + {_of_side('output')}"
    f" + {_HIDDEN})) ELSE 0 END"
)
"""The credits for the usage of a row `e` and of its correction `l`, at the rates `r`."""
