"""What a response is billed for beside its usage: its tier, second bills, and calls of tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tokenbalance.model import Usage
from tokenbalance.openai.metering.bills import call_of_event, with_fees
from tokenbalance.openai.metering.usage import read_usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document, Json

REPORT: Final[Document] = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
PLAIN: Final = {"input": 100, "output": 10}
IMAGES: Final[Document] = {
    "input_tokens": 50,
    "input_tokens_details": {"image_tokens": 30, "text_tokens": 20},
    "cached_tokens": 25,
    "cached_tokens_details": {"cached_image_tokens": 12, "cached_text_tokens": 13},
    "output_tokens": 400,
    "output_tokens_details": {"image_tokens": 390, "text_tokens": 10},
    "total_tokens": 450,
}
SVG: Final[Document] = {
    "model": "gpt-6.2-sol",
    "input_tokens": 7,
    "output_tokens": 90,
    "reasoning_tokens": 60,
    "total_tokens": 97,
}


def used(response: Document) -> Usage:
    """The usage of a response with these members."""
    usage = read_usage(REPORT, response=response)
    assert usage is not None
    return usage


def beside(response: Document) -> Mapping[str, int]:
    """What a response is billed for beside its own tokens."""
    quantities = used(response).quantities
    return {kind: number for kind, number in quantities.items() if kind not in PLAIN}


def call(kind: str, **more: Json) -> Document:
    return {"id": "1", "type": f"{kind}_call", "status": "completed", **more}


# Tiers.


@pytest.mark.parametrize(
    ("tier", "kind"),
    [
        ("default", "tier:default"),
        ("priority", "tier:priority"),
        ("ultrafast", "tier:ultrafast"),
        ("Priority", "tier:priority"),
        ("brand-new_2", "tier:brand-new_2"),
        ("not a name", "tier:unknown"),
        ("x" * 33, "tier:unknown"),
        ("päckchen", "tier:unknown"),
        (7, "tier:unknown"),
    ],
)
def test_the_tier_of_a_response_is_a_quantity(tier: Json, kind: str) -> None:
    assert beside({"service_tier": tier}) == {kind: 1}


@pytest.mark.parametrize("response", [{}, {"service_tier": None}, {"service_tier": ""}])
def test_a_response_that_names_no_tier_has_none(response: Document) -> None:
    assert used(response) == Usage(PLAIN, 110)


def test_a_response_that_used_nothing_has_no_tier() -> None:
    zeros: Document = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    assert read_usage(zeros, response={"service_tier": "priority"}) == Usage()


# Cache writes.


@pytest.mark.parametrize(
    ("divided", "expected"),
    [
        (None, {"cache_write": 80}),
        ({"ttl_30m_tokens": 80, "ttl_12h_tokens": 0}, {"cache_write": 80}),
        ({"ttl_30m_tokens": 0, "ttl_12h_tokens": 80}, {"cache_write_12h": 80}),
        (
            {"ttl_30m_tokens": 30, "ttl_12h_tokens": 50},
            {"cache_write": 30, "cache_write_12h": 50},
        ),
        ({"ttl_30m_tokens": 30, "ttl_7d_tokens": 50}, {"cache_write": 30, "cache_write_12h": 50}),
        ({}, {"cache_write_12h": 80}),
        ({"ttl_30m_tokens": "80"}, {"cache_write_12h": 80}),
        ({"ttl_30m_tokens": 500}, {"cache_write": 80}),
        ("30m", {"cache_write": 80}),
    ],
)
def test_cache_writes_are_divided_by_how_long_they_last(
    divided: Json, expected: dict[str, int]
) -> None:
    details: Document = {"cache_write_tokens": 80, "cached_tokens": 0}
    if divided is not None:
        details["cache_write_tokens_details"] = divided
    usage = read_usage({**REPORT, "input_tokens_details": details})
    assert usage == Usage({**PLAIN, **expected}, 110)


def test_a_chat_has_cache_writes_without_a_division() -> None:
    report: Document = {
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "total_tokens": 110,
        "prompt_tokens_details": {"cache_write_tokens": 64, "cached_tokens": 32},
    }
    assert read_usage(report) == Usage({**PLAIN, "cache_write": 64, "cached_input": 32}, 110)


# The image tool.


def test_the_bill_of_the_image_model_is_read_without_overlaps() -> None:
    usage = used({"tool_usage": {"image_gen": IMAGES}})
    assert usage.quantities == {
        **PLAIN,
        "image_tool_input": 50,
        "image_tool_cached_input": 13,
        "image_tool_image_input": 18,
        "image_tool_cached_image_input": 12,
        "image_tool_output": 400,
        "image_tool_image_output": 390,
    }
    assert usage.total == 110 + 450


def test_output_of_the_image_model_that_is_not_divided_is_images() -> None:
    report: Document = {"input_tokens": 20, "output_tokens": 300, "total_tokens": 320}
    assert beside({"tool_usage": {"image_gen": report}}) == {
        "image_tool_input": 20,
        "image_tool_output": 300,
        "image_tool_image_output": 300,
    }


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ({"input_tokens": None}, {"image_tool_output": 450, "image_tool_image_output": 390}),
        ({"total_tokens": "450"}, {"image_tool_input": 50, "image_tool_output": 400}),
        ({"output_tokens": -1}, {"image_tool_input": 50, "image_tool_output": 400}),
        ({"cached_tokens": 10**20}, {"image_tool_image_input": 30}),
        ({"input_tokens_details": []}, {"image_tool_cached_input": 13}),
        ({"output_tokens_details": {"image_tokens": 9999}}, {"image_tool_image_output": 400}),
    ],
)
def test_a_broken_bill_counts_as_what_can_be_read_of_it(
    broken: Document, expected: dict[str, int]
) -> None:
    quantities = beside({"tool_usage": {"image_gen": {**IMAGES, **broken}}})
    assert {kind: quantities.get(kind) for kind in expected} == expected


@pytest.mark.parametrize("tools", [None, [], "x", 1, {"image_gen": []}, {"image_gen": None}])
def test_what_is_no_bill_changes_nothing(tools: Json) -> None:
    assert used({"tool_usage": tools, "output": None}) == Usage(PLAIN, 110)


def test_zeros_of_tools_are_no_bill() -> None:
    zeros: Document = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    tools: Document = {"image_gen": zeros, "web_search": {"num_requests": 0}}
    assert used({"tool_usage": tools}) == Usage(PLAIN, 110)


# SVG.


def test_the_bills_of_svg_are_added_up() -> None:
    item = call("image_generation", svg_usage=SVG)
    usage = used({"output": [item, item, call("image_generation")]})
    assert usage.quantities == {
        **PLAIN,
        "svg_input": 14,
        "svg_output": 180,
        "svg_reasoning": 120,
    }
    assert usage.total == 110 + 2 * 97


@pytest.mark.parametrize("broken", [None, [], "x", {}, {"input_tokens": "7"}])
def test_a_broken_bill_of_svg_counts_as_what_can_be_read_of_it(broken: Json) -> None:
    assert used({"output": [call("image_generation", svg_usage=broken)]}) == Usage(PLAIN, 110)


# Calls.


def searches(*actions: str | None) -> list[Json]:
    return [
        call("web_search", action=None if action is None else {"type": action})
        for action in actions
    ]


@pytest.mark.parametrize(
    ("actions", "paid"),
    [
        (("search",), 1),
        (("search", "open_page", "find_in_page", "search"), 2),
        ((None, "open_page"), 1),
        (("open_page",), 0),
    ],
)
def test_searches_are_counted_where_no_number_is_reported(
    actions: tuple[str | None, ...], paid: int
) -> None:
    expected = {"call:web_search": paid} if paid else {}
    assert beside({"output": searches(*actions)}) == expected


@pytest.mark.parametrize("number", [0, 1, 7])
def test_a_reported_number_of_searches_counts_whatever_the_items_say(number: int) -> None:
    response: Document = {
        "output": searches("search", "search"),
        "tool_usage": {"web_search": {"num_requests": number}},
    }
    assert beside(response) == ({"call:web_search": number} if number else {})


@pytest.mark.parametrize("number", [None, "7", -1, 1.5, True, {}])
def test_what_is_no_number_of_searches_is_none(number: Json) -> None:
    response: Document = {
        "output": searches("search", "search"),
        "tool_usage": {"web_search": {"num_requests": number}},
    }
    assert beside(response) == {"call:web_search": 2}


def test_calls_of_other_tools_are_counted_by_their_items() -> None:
    output: list[Json] = [
        call("file_search"),
        call("file_search"),
        call("brand_new"),
        {"type": "message", "content": []},
        {"type": "file_search_call_output"},
        {"type": None},
        "file_search_call",
        7,
    ]
    assert beside({"output": output}) == {"call:file_search": 2, "call:brand_new": 1}


@pytest.mark.parametrize(
    "kind",
    [
        "apply_patch",
        "computer",
        "custom_tool",
        "function",
        "image_generation",
        "local_shell",
        "mcp",
        "multi_agent",
        "tool_search",
    ],
)
def test_calls_that_cost_only_tokens_have_no_fee(kind: str) -> None:
    assert beside({"output": [call(kind)]}) == {}


@pytest.mark.parametrize("kind", ["x" * 41, "Loud", "with space", ""])
def test_a_call_whose_name_no_card_can_list_has_no_fee(kind: str) -> None:
    assert beside({"output": [call(kind)]}) == {}


def test_a_container_is_paid_for_once_whatever_runs_in_it() -> None:
    output: list[Json] = [
        call("code_interpreter", container_id="cntr_1"),
        call("code_interpreter", container_id="cntr_1"),
        call("code_interpreter", container_id="cntr_2"),
        call("shell", environment={"type": "container_reference", "container_id": "cntr_1"}),
        call("shell", environment={"type": "container_reference", "container_id": "cntr_1"}),
    ]
    assert beside({"output": output}) == {"session:code_interpreter": 2, "session:shell": 1}


@pytest.mark.parametrize("environment", [None, {"type": "local"}])
def test_a_shell_of_the_client_has_no_fee(environment: Json) -> None:
    assert beside({"output": [call("shell", environment=environment)]}) == {}


def test_a_code_interpreter_always_has_a_container() -> None:
    assert beside({"output": [call("code_interpreter"), call("code_interpreter")]}) == {
        "session:code_interpreter": 1
    }


def test_echoes_of_earlier_responses_are_not_paid_for_again() -> None:
    items: list[Json] = [
        *searches("search"),
        call("file_search"),
        call("image_generation", svg_usage=SVG),
        call("code_interpreter", container_id="cntr_1"),
    ]
    response: Any = {"instructions": items, "input": items, "output": [{"content": items}]}
    assert used(response) == Usage(PLAIN, 110)


@pytest.mark.parametrize(
    ("event", "call"),
    [
        ("response.web_search_call.completed", "web_search_call"),
        ("response.file_search_call.completed", "file_search_call"),
        ("response.code_interpreter_call.completed", "code_interpreter_call"),
        ("response.image_generation_call.completed", None),
        ("response.mcp_call.completed", None),
        ("response.web_search_call.searching", None),
        ("response.completed", None),
        ("", None),
    ],
)
def test_the_event_that_ends_a_call_tells_its_type(event: str, call: str | None) -> None:
    assert call_of_event(event) == call


def test_fees_are_added_to_those_that_a_usage_has() -> None:
    usage = Usage({"input": 1, "call:web_search": 2}, 1, estimated=True)
    assert with_fees(usage, (("call:web_search", 3), ("session:shell", 1))) == Usage(
        {"input": 1, "call:web_search": 5, "session:shell": 1}, 1, estimated=True
    )
    assert with_fees(usage, ()) is usage
