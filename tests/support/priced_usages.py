"""Any rates of cards of version 2, and any usage that they may be asked to price."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from hypothesis import strategies as st

from tokenbalance.books.pricing.factors import build_factors
from tokenbalance.books.pricing.rates import build_rates
from tokenbalance.books.pricing.units import UNITS
from tokenbalance.model import Long, Rates, Usage

TOOLS: Final = ("call:web_search", "call:file_search", "session:shell")
TIERS: Final = ("auto", "default", "standard", "flex", "priority", "turbo")

_nano = st.one_of(st.sampled_from([0, 1, 10**9]), st.integers(0, 5 * 10**9), st.integers(0, 10**15))
_counts = st.one_of(st.integers(0, 9), st.integers(0, 5_000), st.integers(0, 2**53))
_factors = st.one_of(
    st.sampled_from([Fraction(1), Fraction(1, 2), Fraction(5, 3), Fraction(3)]),
    st.fractions(min_value=Fraction(1, 1000), max_value=1000, max_denominator=1000),
)
_rising = st.fractions(min_value=1, max_value=5, max_denominator=7)


def _long(factors: st.SearchStrategy[Fraction]) -> st.SearchStrategy[Long]:
    return st.builds(Long, st.integers(0, 5_000), factors, factors)


def rates_with(factors: st.SearchStrategy[Fraction]) -> st.SearchStrategy[Rates]:
    """Any rates with such factors."""
    return st.builds(
        build_rates,
        st.dictionaries(st.sampled_from((*UNITS.names, *TOOLS)), _nano),
        factors=st.builds(
            build_factors,
            st.dictionaries(st.sampled_from(TIERS[:-1]), factors),
            factors,
            st.one_of(st.none(), _long(factors)),
            factors,
        ),
    )


any_rates = rates_with(_factors)
rising_rates = rates_with(_rising)
"""No factor makes anything cheaper."""


@st.composite
def _usages(draw: st.DrawFn) -> Usage:
    kinds = (*UNITS.tokens, *UNITS.counts, *TOOLS)
    quantities = draw(st.dictionaries(st.sampled_from(kinds), _counts))
    tier = draw(st.one_of(st.none(), st.sampled_from(TIERS)))
    if tier is not None:
        quantities[f"tier:{tier}"] = 1
    return Usage(quantities, draw(_counts))


any_priced_usage = _usages()
