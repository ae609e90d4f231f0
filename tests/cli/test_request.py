from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.books import create_holder, placed
from tests.support.dear_requests import CHARGE, LINES, settle_dear
from tests.support.rerates import card, charged, rerated
from tokenbalance.books.ledger.book import Book
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from tests.cli.conftest import Cli
    from tokenbalance.database.connections import Pool, Sessions

REQUEST = "tb_019ab3f0c2d1" + "a" * 20


async def test_a_request_is_shown_by_the_beginning_of_its_id(cli: Cli, pool: Pool) -> None:
    holder = await create_holder(pool, 1000)
    hold = await placed(Book(pool), holder, REQUEST, 600)
    assert await Book(pool).settle(hold, Usage({"input": 500, "output": 12}, total=512))
    _ = cli("ledger", "refund", REQUEST, "--amount", "100")

    found = cli.json("request", "show", REQUEST[:12])
    shown = cli("request", "show", REQUEST).out.splitlines()

    (line,) = found.pop("lines")
    assert (line["kind"], line["tokens"], line["credits"]) == ("total", 512, "512")
    assert found.pop("created_at")
    assert found.pop("ended_at")
    assert found.pop("user").startswith("holder")
    assert found.pop("key").startswith("sk-tb-")
    assert found == {
        "request_id": REQUEST,
        "state": "settled",
        "endpoint": "/chat/completions",
        "model": "gpt-4o-mini",
        "hold": 600,
        "input": 500,
        "output": 12,
        "total": 512,
        "charge": 512,
        "overrun": 0,
        "cost": 412,
        "estimated": False,
        "tier_asked": None,
        "tier_served": None,
        "notes": [],
    }
    assert len(shown) == 2
    assert shown[1].startswith(REQUEST)


async def test_a_request_by_a_card_is_shown_with_its_rates_and_factors(
    cli: Cli, pool: Pool
) -> None:
    await settle_dear(pool, await create_holder(pool, 10_000_000), REQUEST)
    found = cli.json("request", "show", REQUEST)
    assert (found["charge"], found["tier_asked"], found["tier_served"]) == (
        *(CHARGE, "fast", "priority"),
    )
    names = ("kind", "tokens", "rate", "factor", "credits")
    assert [tuple(line[name] for name in names) for line in found["lines"]] == list(LINES)
    shown = cli("request", "show", REQUEST).out.splitlines()
    assert shown[3].split() == [*names, "model"]
    assert shown[4].split() == ["input", "199,000", "2", "10/3", "3980000/3"]
    assert shown[8].split() == ["image_tool_input", "100", "5", "1", "500", "gpt-image-2"]


async def test_a_price_that_was_corrected_is_told(cli: Cli, pool: Pool, sessions: Sessions) -> None:
    hold = await charged(pool, await create_holder(pool, 1000))
    _ = await rerated(sessions, card("2", "2"))
    (note,) = cli.json("request", "show", hold.request_id)["notes"]
    assert note.endswith(": it was charged 15 before.")
    assert cli("request", "show", hold.request_id).out.endswith(f"\n\n{note}\n")


def test_what_is_no_request_is_told_in_one_line(cli: Cli) -> None:
    assert "no request has the id 'tb_0'" in cli.refused("request", "show", "tb_0")
    assert "a request id is tb_ and" in cli.refused("request", "show", "x")
