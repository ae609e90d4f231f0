"""The proof of charges knows every kind in the table, one that is added tomorrow as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.support.proven_charges import due_for
from tokenbalance.books.pricing.rate_card import read_rate_card
from tokenbalance.books.pricing.rates import charge_for
from tokenbalance.books.pricing.units import INPUT, OUTPUT, UNITS, Unit, Units
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool

MORE: Final = Units(
    (
        *UNITS.rows,
        Unit("draft", "Draft tokens", INPUT, parent="input"),
        Unit("draft_kept", "Draft tokens, kept", INPUT, parent="draft"),
        Unit("film", "Film tokens", OUTPUT, parent="output", is_media=True),
    )
)
CARD: Final = """
[[models]]
match = "m"
input = 2
cached_input = 0.5
output = 4
film = 7.25
"""
USAGES: Final = {
    "a new part of the input": Usage({"input": 100, "cached_input": 40, "draft": 50}, 100),
    "more parts than there is input": Usage(
        {"input": 10, "cached_input": 8, "draft": 7, "draft_kept": 9}, 10
    ),
    "a new part of the output, and hidden output": Usage({"output": 30, "film": 9}, 90),
    "only a total": Usage({}, 5),
    "nothing": Usage(),
}


@pytest.mark.parametrize("more", ["", "draft = 3", "draft_kept = 11"])
@pytest.mark.parametrize("usage", USAGES.values(), ids=USAGES)
async def test_the_proof_charges_a_further_kind_as_the_book_does(
    pool: Pool, usage: Usage, more: str
) -> None:
    rates = read_rate_card(CARD + more, MORE).rates_for("m")
    due = await due_for(pool, usage, rates, MORE)
    assert due == charge_for(usage, rates)
