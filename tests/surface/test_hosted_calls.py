"""Tools that the upstream runs itself: held for by calls, which are lowered first."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbalance.books.pricing.ceilings import (
    RESPONSE_AFTER_CALLS,
    minimum_for,
    paid_for,
    wanted_for,
)
from tokenbalance.errors import UnsupportedParameter
from tokenbalance.model import Estimate, HostedCalls
from tokenbalance.openai import find_operation
from tokenbalance.openai.estimate import bound

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json

RESPONSES = find_operation("POST", b"/responses")
SEARCH: dict[str, Json] = {"type": "web_search"}
FUNCTION: dict[str, Json] = {"type": "function", "name": "shell", "parameters": {"type": "object"}}
PROMPT = "alpha beta gamma delta " * 1_000


def estimated(**fields: Json) -> Estimate:
    document: Document = {"model": "gpt-5", "input": "hi", "max_output_tokens": 1_000, **fields}
    return bound(RESPONSES, document)


def in_items(*items: dict[str, Json]) -> Estimate:
    return estimated(input=[{"role": "user", "content": "hi"}, *items])


# Where a tool counts.


@pytest.mark.parametrize(
    "estimate",
    [
        estimated(tools=[SEARCH]),
        estimated(tools=[{"type": "namespace", "name": "n", "description": "", "tools": [SEARCH]}]),
        estimated(tools=[{"type": "of a later year"}]),
        in_items({"type": "additional_tools", "role": "developer", "tools": [SEARCH]}),
        in_items(
            {
                "type": "additional_tools",
                "tools": [{"type": "namespace", "name": "n", "tools": [SEARCH]}],
            }
        ),
        in_items({"type": "tool_search_output", "execution": "client", "tools": [SEARCH]}),
    ],
)
def test_a_search_counts_wherever_a_list_of_tools_stands(estimate: Estimate) -> None:
    assert estimate.calls is not None
    assert estimate.calls.most == 8
    assert estimate.input_tokens > 400_000


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [SEARCH], "tool_choice": "none"},
        {"tools": [FUNCTION]},
        {"tools": [{"type": "custom", "name": "exec"}]},
        {"tools": [{"type": "programmatic_tool_calling"}]},
        {"tools": [{"type": "tool_search", "execution": "client"}]},
        {"tools": [{"type": "shell", "environment": {"type": "local"}}]},
        {"tools": [{"type": "namespace", "name": "n", "tools": [FUNCTION]}]},
    ],
)
def test_what_the_upstream_runs_nothing_for_costs_no_call(fields: dict[str, Json]) -> None:
    estimate = estimated(**fields)
    assert estimate.calls is None
    assert estimate.input_tokens < 2_000


def test_a_search_that_must_not_be_called_costs_nothing_at_all() -> None:
    plain = estimated(tools=[FUNCTION], tool_choice="none")
    offered = estimated(tools=[FUNCTION, SEARCH], tool_choice="none")
    assert offered.input_tokens - plain.input_tokens < 50


def test_tools_described_in_the_list_of_an_mcp_server_are_words() -> None:
    listed: list[Json] = [{"name": "web_search", "type": "web_search"}]
    assert in_items({"type": "mcp_list_tools", "tools": listed}).calls is None


@pytest.mark.parametrize(
    ("choice", "tools", "fewest"),
    [
        ("auto", [SEARCH], 0),
        ("required", [SEARCH], 1),
        ("required", [SEARCH, FUNCTION], 0),
        ({"type": "web_search"}, [SEARCH, FUNCTION], 1),
        ({"type": "function", "name": "shell"}, [SEARCH, FUNCTION], 0),
        ({"type": "allowed_tools", "mode": "auto", "tools": [SEARCH]}, [SEARCH], 0),
    ],
)
def test_a_call_that_is_insisted_on_is_never_given_up(
    choice: Json, tools: list[Json], fewest: int
) -> None:
    calls = estimated(tools=tools, tool_choice=choice).calls
    assert calls is not None
    assert calls.fewest == fewest


# What is held, and what it pays for.


def test_a_long_prompt_that_offers_a_search_needs_no_more_than_itself() -> None:
    plain = estimated(input=PROMPT * 4)
    offered = estimated(input=PROMPT * 4, tools=[SEARCH])
    assert minimum_for(offered, None) < 1.1 * minimum_for(plain, None)
    forced = estimated(input=PROMPT * 4, tools=[SEARCH], tool_choice={"type": "web_search"})
    assert minimum_for(forced, None) < 3 * minimum_for(plain, None)


def test_calls_are_lowered_to_what_the_balance_affords_before_the_output_is() -> None:
    estimate = estimated(tools=[SEARCH])
    for calls in range(1, 9):
        enough = wanted_for(estimate.with_calls(calls), None)
        paid = paid_for(estimate, enough, None)
        assert (paid.calls and paid.calls.most, paid.output_cap) == (calls, 1_000)
    least = minimum_for(estimate, None)
    paid = paid_for(estimate, least, None)
    assert (paid.calls and paid.calls.most, paid.output_cap) == (0, 16)


def test_the_last_call_is_given_up_if_it_would_leave_no_output() -> None:
    estimate = estimated(tools=[SEARCH], max_output_tokens=20_000)
    one = estimate.with_calls(1)
    short = wanted_for(replace(one, output_cap=RESPONSE_AFTER_CALLS), None)
    assert paid_for(estimate, short, None).output_cap == RESPONSE_AFTER_CALLS
    without = paid_for(estimate, short - 1, None)
    left = short - 1 - estimate.with_calls(0).input_tokens
    assert (without.calls and without.calls.most, without.output_cap) == (0, left)


CALLS = st.builds(
    HostedCalls,
    first_turn=st.integers(0, 10_000),
    growth=st.integers(1, 5_000),
    context=st.integers(1, 20_000),
    most=st.integers(0, 40),
    fewest=st.just(0),
    asked=st.none(),
)


@given(CALLS)
def test_the_input_of_all_turns_is_the_sum_of_each(calls: HostedCalls) -> None:
    turns = [
        max(min(calls.first_turn + i * calls.growth, calls.context), calls.first_turn)
        for i in range(calls.most + 1)
    ]
    assert calls.input_tokens(calls.most) == sum(turns)
    sums = [calls.input_tokens(number) for number in range(calls.most + 1)]
    assert all(fewer <= more for fewer, more in pairwise(sums))


@given(CALLS, st.integers(1, 5_000), st.integers(0, 200_000))
def test_what_is_paid_for_is_never_more_than_the_amount(
    calls: HostedCalls, output: int, more: int
) -> None:
    estimate = Estimate(
        calls.input_tokens(calls.most),
        output_cap=output,
        output_minimum=1,
        cap_fields=("max_output_tokens",),
        calls=calls,
    )
    amount = min(minimum_for(estimate, None) + more, wanted_for(estimate, None))
    paid = paid_for(estimate, amount, None)
    assert wanted_for(paid, None) <= amount
    assert paid.output_cap >= 1


# What nothing bounds.


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"multi_agent": {"enabled": True}}, "multi_agent"),
        ({"multi_agent": {}}, "multi_agent"),
        ({"multi_agent": "x"}, "multi_agent"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"reasoning": {"mode": "of a later year"}}, "reasoning.mode"),
        ({"background": True}, "background"),
    ],
)
def test_what_multiplies_the_cost_without_a_limit_is_refused(
    fields: dict[str, Json], param: str
) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        estimated(**fields)
    assert refusal.value.param == param


@pytest.mark.parametrize(
    "fields",
    [
        {"multi_agent": None},
        {"multi_agent": {"enabled": False}},
        {"reasoning": {"mode": "standard", "effort": "high"}},
        {"reasoning": None},
        {"background": False},
    ],
)
def test_what_multiplies_nothing_passes(fields: dict[str, Json]) -> None:
    assert estimated(**fields).input_tokens < 20


# Items are judged by their type.


@pytest.mark.parametrize(
    "item",
    [
        {"type": "program_output", "result": PROMPT},
        {"type": "image_generation_call", "result": "AAAA", "revised_prompt": PROMPT},
        {"type": "function_call", "name": "f", "arguments": "{}", "unheard_of": PROMPT},
        {"type": "function_call_output", "output": [{"type": "input_image", "text": PROMPT}]},
        {"type": "of a later year", "result": PROMPT},
        {"type": "of a later year", "image": {"type": "input_image", "image_url": PROMPT}},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": PROMPT}]},
        {"role": "user", "content": "hi", "unheard_of": PROMPT},
        {"role": "user", "content": [PROMPT]},
        {"type": "configuration_update", "text": {"format": {"schema": PROMPT}}},
    ],
)
def test_text_counts_wherever_it_stands(item: dict[str, Json]) -> None:
    assert in_items(item).input_tokens > len(PROMPT)


def test_only_what_is_known_to_be_media_is_bounded_as_such() -> None:
    image: dict[str, Json] = {"type": "input_image", "image_url": "data:image/png;base64," + PROMPT}
    assert in_items({"role": "user", "content": [image]}).input_tokens < len(PROMPT) / 2
    made: dict[str, Json] = {"type": "image_generation_call", "id": "ig_1", "result": PROMPT}
    assert in_items(made).input_tokens < len(PROMPT) / 2


@pytest.mark.parametrize("content", [None, "", [], [{"type": "input_text", "text": ""}]])
def test_contents_may_be_empty(content: Json) -> None:
    assert in_items({"role": "user", "content": content}).input_tokens < 40


@pytest.mark.parametrize(
    "item",
    [
        {"role": PROMPT, "content": "hi"},
        {"type": "function_call_output", "call_id": PROMPT, "output": "hi"},
        {"type": "function_call", "id": PROMPT, "name": "f", "arguments": "{}"},
        {"type": "program_output", "status": PROMPT, "result": "hi"},
        {"type": PROMPT},
        {"role": "user", "content": "hi", "status": {"of a later year": PROMPT}},
    ],
)
def test_a_label_that_is_none_counts_as_text(item: dict[str, Json]) -> None:
    assert in_items(item).input_tokens > len(PROMPT)


def test_a_role_that_is_none_counts_as_text_in_a_chat() -> None:
    message: Json = {"role": PROMPT, "content": "hi"}
    chat = find_operation("POST", b"/chat/completions")
    assert bound(chat, {"model": "gpt-4o", "messages": [message]}).input_tokens > len(PROMPT)


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search", "execution": "client"},
        {"type": "mcp", "environment": {"type": "local"}},
        {"type": "code_interpreter", "execution": "client", "environment": {"type": "local"}},
    ],
)
def test_a_member_of_another_tool_does_not_make_one_the_clients(tool: dict[str, Json]) -> None:
    assert estimated(tools=[tool]).calls is not None


@pytest.mark.parametrize(
    "item",
    [
        {"type": "of a later year", "tools": [SEARCH]},
        {"role": "user", "content": "hi", "tools": [SEARCH]},
    ],
)
def test_a_search_counts_in_an_item_that_is_not_known_to_bring_tools(item: dict[str, Json]) -> None:
    assert in_items(item).calls is not None


@pytest.mark.parametrize("kind", ["mcp", "MCP", "of a later year"])
def test_a_tool_of_any_type_reaches_public_servers_only(kind: str) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        estimated(tools=[{"type": kind, "server_url": "http://127.0.0.1/"}])
    assert refusal.value.param == "tools[0].server_url"
