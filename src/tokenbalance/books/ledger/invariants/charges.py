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
    from collections.abc import Callable, Iterable

    from tokenbalance.books.pricing.units import Units
    from tokenbalance.model import Sides

# What a row and its correction used, by kind: exact in every case, and slow.
_USED: Final = """
       (SELECT key, sum(value::bigint) AS number
          FROM (SELECT key, value FROM jsonb_each_text(e.used)
                 UNION ALL
                SELECT more.key, more.value
                  FROM jsonb_array_elements(l.listed) later, jsonb_each_text(later) more) every
         GROUP BY key) used
"""
_TIER_PATTERN: Final = f'"{TIER}([^"]*)"'


def quantities(units: Units = UNITS) -> str:
    """Write the columns of a row of the ledger: what was used of each kind."""
    tokens = (f"{_number('quantities', kind)} AS {kind}" for kind in units.own_tokens)
    return ", ".join((*tokens, "quantities AS used"))


def corrections(units: Units = UNITS) -> str:
    """Write the columns of the later rows of a request: what they add to each kind."""
    own = (f"coalesce(sum({kind}), 0) AS {kind}" for kind in units.own_tokens)
    others = (
        f"coalesce(sum({_number('used', kind)}), 0) AS {kind}" for kind in _second_bills(units)
    )
    return ", ".join((*own, *others, "jsonb_agg(used) FILTER (WHERE used IS NOT NULL) AS listed"))


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
    kinds_of_extras = f"ARRAY(SELECT jsonb_object_keys({extras}))"
    factors = "rates->'factors'"
    long = f"{factors}->'long'"
    return ", ".join(
        (
            *kinds,
            f"{extras} AS extras",
            f"{kinds_of_extras} AS kinds_of_extras",
            f"{factors} AS factors",
            f"num_nonnulls({factors}->'assumed', {factors}->'always') = 0 AS is_usual",
            f"({long}->>'above')::bigint AS long_above",
            *_fraction("always", f"{factors}->>'always'"),
            *_fraction("long_input", f"{long}->>'{INPUT}'"),
            *_fraction("long_output", f"{long}->>'{OUTPUT}'"),
        )
    )


def due(units: Units = UNITS) -> str:
    """Write the credits for the usage of a row `e` and of its correction `l`, at the rates `r`."""
    total = "(e.total + coalesce(l.total, 0))"
    second = _of_second_bills(units, _sum_of_sides)
    in_sight = f"{_used(INPUT)} + {_used(OUTPUT)} + {second}"
    inputs, outputs = (
        _of_side(side, parts, _used) for side, parts in units.sides if side in {INPUT, OUTPUT}
    )
    outputs += f" + greatest({total} - ({in_sight}), 0) * r.{OUTPUT}"
    others = f"r.{REQUEST} + {_EXTRAS} + {_of_second_bills(units, _cost_of_sides)}"
    return (
        f"CASE WHEN {total} > 0 OR {in_sight} > 0 OR {_counted(units)}"
        f" THEN least({AMOUNT_MAX}, CASE WHEN {_UNSCALED}"
        f" THEN ceil({inputs} + {outputs} + {others})"
        f" ELSE {_scaled(inputs, outputs, others)} END) ELSE 0 END"
    )


def _number(column: str, kind: str) -> str:
    return f"coalesce(({column}->'{kind}')::bigint, 0)"


def _used(kind: str) -> str:
    return f"(e.{kind} + coalesce(l.{kind}, 0))"


def _used_of_second_bill(kind: str) -> str:
    return f"({_number('e.used', kind)} + coalesce(l.{kind}, 0))"


def _of_side(side: str, parts: tuple[str, ...], used: Callable[[str], str]) -> str:
    """Write the credits of a side: each part takes what is left by those before it."""
    terms: list[str] = []
    left = used(side)
    taken = ""
    for part in parts:
        taken += f" - {used(part)}"
        after = f"greatest({used(side)}{taken}, 0)"
        terms.append(f"({left} - {after}) * r.{part}")
        left = after
    return " + ".join((*terms, f"{left} * r.{side}"))


def _second_bills(units: Units) -> list[str]:
    """The tokens that few rows have: they are only read where there are some."""
    own = set(units.own_tokens)
    return [kind for kind in units.tokens if kind not in own]


def _of_second_bills(units: Units, written: Callable[[Sides], str]) -> str:
    sides = tuple(each for each in units.sides if each[0] not in {INPUT, OUTPUT})
    if not sides:
        return "0"
    wholes = _listed(side for side, _ in sides)
    return (
        f"CASE WHEN e.used ?| ARRAY[{wholes}] OR l.listed IS NOT NULL"
        f" THEN {written(sides)} ELSE 0 END"
    )


def _sum_of_sides(sides: Sides) -> str:
    return " + ".join(_used_of_second_bill(side) for side, _ in sides)


def _cost_of_sides(sides: Sides) -> str:
    return " + ".join(_of_side(side, parts, _used_of_second_bill) for side, parts in sides)


_EXTRAS: Final = f"""
       CASE WHEN e.used ?| r.kinds_of_extras OR l.listed IS NOT NULL THEN
       (SELECT coalesce(sum(used.number * (r.extras->>used.key)::numeric), 0) FROM {_USED})
       ELSE 0 END
"""  # noqa: S608 - made of constants


def _counted(units: Units) -> str:
    """Write whether anything other than tokens was used."""
    return (
        f"EXISTS (SELECT FROM {_USED} WHERE used.number > 0 AND used.key NOT LIKE '{TIER}%'"
        f" AND used.key NOT IN ({_listed((*units.tokens, REQUEST))}))"
    )


_STANDARD: Final = ", ".join(f"'{name}'" for name in STANDARD_TIERS)


def _factor_of_tier(tier: str) -> str:
    """Write the factor of a tier; null where there is none."""
    return (
        f"CASE WHEN {tier} IS NOT NULL THEN coalesce(r.factors->'tiers'->>{tier},"
        f" CASE WHEN {tier} IN ({_STANDARD}) THEN '1' END, r.factors->>'dearest', '1') END"
    )


def _above(factor: str) -> str:
    """Write the numerator of a factor."""
    return f"split_part({factor}, '/', 1)::numeric"


def _below(factor: str) -> str:
    """Write the denominator of a factor."""
    return f"coalesce(nullif(split_part({factor}, '/', 2), ''), '1')::numeric"


def _fraction(name: str, factor: str) -> tuple[str, str]:
    """Write the columns of a factor, which is 1 where it is null."""
    factor = f"coalesce({factor}, '1')"
    return f"{_above(factor)} AS {name}_above", f"{_below(factor)} AS {name}_below"


# Most rows: the usual tier, which is not kept, and a short input. It must imply that the factor
# is 1, and need not hold wherever it is.
_UNSCALED: Final = f"""
       r.factors IS NULL
       OR r.is_usual AND l.listed IS NULL AND ({_used(INPUT)} > r.long_above) IS NOT TRUE
          AND e.used::text NOT LIKE '%"{TIER}%'
"""


# A usage has one tier. Where a correction brought another, or took one back, all are looked at.
_TIER: Final = f"""
       CASE WHEN l.listed IS NULL
       THEN {_factor_of_tier(f"substring(e.used::text from '{_TIER_PATTERN}')")}
       ELSE (SELECT factor
               FROM (SELECT {_factor_of_tier(f"substr(used.key, {len(TIER) + 1})")} AS factor
                       FROM {_USED}
                      WHERE used.number > 0 AND used.key LIKE '{TIER}%') named
              ORDER BY {_above("factor")} / {_below("factor")} DESC
              LIMIT 1) END
"""  # noqa: S608 - made of constants


def _scaled(inputs: str, outputs: str, others: str) -> str:
    """Write the credits for costs by side and what no factor applies to, rounded up."""
    is_long = f"{_used(INPUT)} > r.long_above"
    # OFFSET 0 keeps Postgres from computing everything again wherever it is used.
    return f"""
       (SELECT div(whole.above, whole.below) + sign(mod(whole.above, whole.below))
          FROM (SELECT t.above * i.above * o.below * ({inputs})
                       + t.above * o.above * i.below * ({outputs})
                       + t.below * i.below * o.below * ({others}) AS above,
                       t.below * i.below * o.below AS below
                  FROM (SELECT {_above("factor")} * r.always_above AS above,
                               {_below("factor")} * r.always_below AS below
                          FROM (SELECT coalesce({_TIER}, r.factors->>'assumed', '1') AS factor
                                OFFSET 0) tier OFFSET 0) t,
                       (SELECT CASE WHEN {is_long} THEN r.long_input_above ELSE 1 END AS above,
                               CASE WHEN {is_long} THEN r.long_input_below ELSE 1 END AS below
                        OFFSET 0) i,
                       (SELECT CASE WHEN {is_long} THEN r.long_output_above ELSE 1 END AS above,
                               CASE WHEN {is_long} THEN r.long_output_below ELSE 1 END AS below
                        OFFSET 0) o
                OFFSET 0) whole)
"""  # noqa: S608 - made of constants


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
