"""A charge by a card of version 2, explained: kinds, factors, fees, second bills, and the tier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.books import create_holder
from tests.support.dear_requests import CHARGE, LINES, SUM, USED, settle_dear

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


async def explained(http: httpx2.AsyncClient, holder: Holder, request_id: str) -> dict[str, Any]:
    response = await http.get(f"/api/requests/{request_id}", headers=holder.headers)
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_dear_charge_is_explained_to_the_credit(
    http: httpx2.AsyncClient, pool: Pool
) -> None:
    holder = await create_holder(pool, 10_000_000)
    await settle_dear(pool, holder, "tb_dear")
    found = await explained(http, holder, "tb_dear")
    lines = [
        tuple(line[name] for name in ("kind", "tokens", "rate", "factor", "credits"))
        for line in found["lines"]
    ]
    assert lines == list(LINES)
    assert (found["sum"], found["rounding"], found["charge"]) == (SUM, "1/3", CHARGE)
    assert found["factors"] == [
        {"label": "Service tier priority", "input": "5/3", "output": "5/3"},
        {"label": "Input above 272,000 tokens", "input": "2", "output": "1.5"},
    ]
    assert (found["tier_asked"], found["tier_served"]) == ("fast", "priority")
    models = {line["kind"]: line["model"] for line in found["lines"]}
    assert {kind for kind, model in models.items() if model == "gpt-image-2"} == {
        *("image_tool_input", "image_tool_image_output"),
    }
    assert {line["label"] for line in found["lines"]} >= {
        *("Input tokens", "Cache write tokens, 12 hours", "Web search calls"),
    }
    assert found["rates"]["call:web_search"] == "10000"
    assert found["usage"]["call:web_search"] == 7
    assert found["usage"]["tier:priority"] == 1
    assert found["notes"] == []


async def test_what_was_used_is_listed_by_kind_as_reported(
    http: httpx2.AsyncClient, pool: Pool
) -> None:
    holder = await create_holder(pool, 10_000_000)
    await settle_dear(pool, holder, "tb_listed")
    quantities = (await explained(http, holder, "tb_listed"))["quantities"]
    assert {each["kind"]: each["number"] for each in quantities} == USED
    assert quantities[0] == {"kind": "input", "label": "Input tokens", "number": 300_000}


async def test_a_tier_that_the_card_does_not_know_is_said_to_cost_the_highest(
    http: httpx2.AsyncClient, pool: Pool
) -> None:
    holder = await create_holder(pool, 10_000_000)
    await settle_dear(pool, holder, "tb_tier", tier="warp")
    found = await explained(http, holder, "tb_tier")
    assert (found["charge"], found["tier_served"]) == (CHARGE, "warp")
    assert found["notes"] == [
        "The rate card has no factor for the service tier warp: the highest was charged."
    ]
