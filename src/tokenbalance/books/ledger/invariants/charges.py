"""What must be true of each charge at rates: it is what `pricing.rates` computes of the usage.

The computation of `rates.py` once more, in another language, and made of the same table of kinds:
a further kind needs no SQL. It is exact too: factors are kept as numerators and denominators, and
divided once, when the sum is rounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.factors import STANDARD_TIERS
from tokenbalance.books.pricing.rates import AMOUNT_MAX
from tokenbalance.books.pricing.units import CALL, INPUT, OUTPUT, REQUEST, SESSION, TIER, UNITS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokenbalance.books.pricing.units import Units

# What a row and its correction used, by kind. Few rows have factors, fees or counts; only for them
# it is read.
_USED: Final = """
       (SELECT key, sum(value::bigint) AS number
          FROM (SELECT key, value FROM jsonb_each_text(e.used)
                 UNION ALL
                SELECT more.key, more.value
                  FROM jsonb_array_elements(l.listed) later, jsonb_each_text(later) more) every
         GROUP BY key) used
"""


def quantities(units: Units = UNITS) -> str:
    """Write the columns of a row of the ledger: what was used of each kind."""
    tokens = (f"coalesce((quantities->'{kind}')::bigint, 0) AS {kind}" for kind in units.tokens)
    return ", ".join((*tokens, "quantities AS used"))


def corrections(units: Units = UNITS) -> str:
    """Write the columns of the later rows of a request: what they add to each kind."""
    tokens = (f"coalesce(sum({kind}), 0) AS {kind}" for kind in units.tokens)
    return ", ".join((*tokens, "jsonb_agg(used) FILTER (WHERE used IS NOT NULL) AS listed"))


def rates(units: Units = UNITS) -> str:
    """Write the columns of rates: that of each kind, as numbers, those of extras, and factors."""
    kinds = (
        "coalesce(" + "".join(f"(rates->>'{name}')::numeric, " for name in names) + f"0) AS {kind}"
        for kind, names in units.ancestry.items()
    )
    extras = f"""
       (SELECT jsonb_object_agg(key, value)
          FROM jsonb_each_text(rates)
         WHERE key LIKE '{CALL}%' OR key LIKE '{SESSION}%' OR key IN ({_listed(units.counts)}))
"""  # noqa: S608 - made of constants
    return ", ".join((*kinds, f"{extras} AS extras", "rates->'factors' AS factors"))


def due(units: Units = UNITS) -> str:
    """Write the credits for the usage of a row `e` and of its correction `l`, at the rates `r`."""
    total = "(e.total + coalesce(l.total, 0))"
    in_sight = " + ".join(_used(side) for side, _ in units.sides)
    sides = {side: _of_side(side, parts) for side, parts in units.sides}
    sides[OUTPUT] += f" + greatest({total} - ({in_sight}), 0) * r.{OUTPUT}"
    others = [cost for side, cost in sides.items() if side not in {INPUT, OUTPUT}]
    unscaled = " + ".join((f"r.{REQUEST}", _EXTRAS, *others))
    return (
        f"CASE WHEN greatest({in_sight}, {total}) > 0 OR {_counted(units)}"
        f" THEN least({AMOUNT_MAX}, CASE WHEN r.factors IS NULL"
        f" THEN ceil({sides[INPUT]} + {sides[OUTPUT]} + {unscaled})"
        f" ELSE {_scaled(sides[INPUT], sides[OUTPUT], unscaled)} END) ELSE 0 END"
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


_EXTRAS: Final = f"""
       CASE WHEN r.extras IS NULL THEN 0 ELSE
       (SELECT coalesce(sum(used.number * (r.extras->>used.key)::numeric), 0)
          FROM {_USED}) END
"""  # noqa: S608 - made of constants


def _counted(units: Units) -> str:
    """Write whether anything other than tokens was used."""
    return (
        f"EXISTS (SELECT FROM {_USED} WHERE used.number > 0 AND used.key NOT LIKE '{TIER}%'"
        f" AND used.key NOT IN ({_listed((*units.tokens, REQUEST))}))"
    )


def _scaled(inputs: str, outputs: str, unscaled: str) -> str:
    """Write the credits for costs by side and what no factor applies to, rounded up."""
    factors = (
        _fraction("t", _TIER),
        _fraction("a", "r.factors->>'always'"),
        _fraction("i", _long(INPUT)),
        _fraction("o", _long(OUTPUT)),
    )
    return f"""
       (SELECT div(whole.n, whole.d) + sign(mod(whole.n, whole.d))
          FROM (SELECT t.n * a.n * (({inputs}) * i.n * o.d + ({outputs}) * o.n * i.d)
                       + ({unscaled}) * t.d * a.d * i.d * o.d AS n,
                       t.d * a.d * i.d * o.d AS d
                  FROM {", ".join(factors)}) whole)
"""  # noqa: S608 - made of constants


_STANDARD: Final = ", ".join(f"'{TIER}{name}'" for name in STANDARD_TIERS)
# A usage has one tier. Of several, which only broken books have, the dearest counts.
_TIER: Final = f"""
coalesce((SELECT named.factor
            FROM (SELECT coalesce(r.factors->'tiers'->>substr(used.key, {len(TIER) + 1}),
                                  CASE WHEN used.key IN ({_STANDARD})
                                       THEN '1' END,
                                  r.factors->>'dearest', '1') AS factor
                    FROM {_USED}
                   WHERE used.number > 0 AND used.key LIKE '{TIER}%') named
           ORDER BY split_part(named.factor, '/', 1)::numeric
                    / coalesce(nullif(split_part(named.factor, '/', 2), ''), '1')::numeric DESC
           LIMIT 1),
         r.factors->>'assumed')
"""  # noqa: S608 - made of constants


def _long(side: str) -> str:
    """Write the factor of a side where the input is long."""
    return (
        f"CASE WHEN {_used(INPUT)} > (r.factors->'long'->>'above')::bigint"
        f" THEN r.factors->'long'->>'{side}' END"
    )


def _fraction(name: str, text: str) -> str:
    """Write a table of one row: a factor as numerator `n` and denominator `d`; 1 if it is null."""
    return f"""
       (SELECT split_part(factor, '/', 1)::numeric AS n,
               coalesce(nullif(split_part(factor, '/', 2), ''), '1')::numeric AS d
          FROM (SELECT coalesce({text}, '1') AS factor) written) {name}
"""  # noqa: S608 - made of constants


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
