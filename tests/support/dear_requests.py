"""A request that costs all that a card can ask: a tier, a long input, calls and a second bill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.books.ledger.book import Book
from tokenbalance.books.pricing.rate_card import read_rate_card
from tokenbalance.model import Claim, Conditions, Purpose, Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool

MODEL: Final = "gpt-6.2-sol"
CARD: Final = """
version = 2

[[models]]
match = "gpt-6.2-sol*"
input = 2
cached_input = 0.1
cache_write_12h = 5
output = 10
long = { above = 272000, input = 2, output = 1.5 }
tier = { flex = 0.5, fast = "5/3", priority = "5/3" }
calls = { web_search = 10000, code_interpreter = 30000 }
batch = 0.5

[[models]]
match = "gpt-image-*"
input = 5
image_output = 40
output = 10
"""
ASKED: Final = Conditions(tier="fast", cache_lifetime="12h", image_model="gpt-image-2")
SIDES: Final = {"input": 300_000, "output": 10, "image_tool_input": 100, "image_tool_output": 200}
USED: Final = {
    **SIDES,
    "cached_input": 100_000,
    "cache_write_12h": 1_000,
    "image_tool_image_output": 200,
    "call:web_search": 7,
}
LINES: Final = (
    ("input", 199_000, "2", "10/3", "3980000/3"),
    ("cached_input", 100_000, "0.1", "10/3", "100000/3"),
    ("output", 10, "10", "2.5", "250"),
    ("cache_write_12h", 1_000, "5", "10/3", "50000/3"),
    ("image_tool_input", 100, "5", "1", "500"),
    ("image_tool_image_output", 200, "40", "1", "8000"),
    ("call:web_search", 7, "10000", "1", "70000"),
)
"""Kind, number, rate, factor and credits, worked out by hand."""
SUM: Final = "4366250/3"
CHARGE: Final = 1_455_417


async def settle_dear(pool: Pool, holder: Holder, request_id: str, tier: str = "priority") -> None:
    """Let such a request be charged, served at a tier."""
    book = Book(pool, 60)
    rates = read_rate_card(CARD).rates_for(MODEL, ASKED)
    purpose = Purpose(request_id, "/responses", MODEL, rates)
    hold = await book.place(holder.caller, purpose, Claim(5_000_000, 5_000_000, 0, 50))
    assert hold is not None
    usage = Usage({**USED, f"tier:{tier}": 1}, total=sum(SIDES.values()))
    assert await book.settle(hold, usage)
