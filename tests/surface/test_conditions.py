"""What of a request a rate card is asked for: its tier, its cache, its tools and their models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tokenbalance.books.pricing.units import FREE_TOOLS
from tokenbalance.books.pricing.units import fee_kind as priced_kind
from tokenbalance.errors import InvalidType, UnsupportedParameter
from tokenbalance.model import PLAIN, Conditions
from tokenbalance.openai import find_operation
from tokenbalance.openai.ceilings.hosted_tools import allowance_for, fee_kind
from tokenbalance.openai.conditions import conditions_of, path_of_images, path_of_tool

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json

RESPONSES = find_operation("POST", b"/responses")
CHAT = find_operation("POST", b"/chat/completions")
EMBEDDINGS = find_operation("POST", b"/embeddings")
SEARCH: Json = {"type": "web_search"}
FILES: Json = {"type": "file_search", "vector_store_ids": []}
CODE: Json = {"type": "code_interpreter", "container": {"type": "auto"}}
FUNCTION: Json = {"type": "function", "name": "f", "parameters": {}}
IMAGES: dict[str, Json] = {"type": "image_generation"}


def of_response(**fields: Json) -> Conditions:
    return conditions_of(RESPONSES, response(**fields))


def response(**fields: Json) -> Document:
    return {"model": "gpt-5", "input": "hi", **fields}


def of_chat(**fields: Json) -> Conditions:
    return conditions_of(CHAT, {"model": "gpt-4o", "messages": [], **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"service_tier": None},
        {"service_tier": "auto"},
        {"prompt_cache_options": None},
        {"prompt_cache_options": {}},
        {"prompt_cache_options": {"ttl": None, "mode": "explicit"}},
        {"prompt_cache_options": {"ttl": "30m"}, "prompt_cache_retention": "in_memory"},
        {"background_options": {"completion_window": "soonest"}},
        {"background_options": {}},
        {"tools": []},
        {"tools": [FUNCTION, {"type": "mcp", "server_label": "x"}, {"type": "tool_search"}]},
        {"tools": [SEARCH, IMAGES], "tool_choice": "none"},
    ],
)
def test_what_asks_for_nothing_that_changes_a_price_is_plain(fields: dict[str, Any]) -> None:
    assert of_response(**fields) == PLAIN


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"service_tier": "flex"}, {"tier": "flex"}),
        ({"service_tier": ""}, {"tier": ""}),
        ({"prompt_cache_options": {"ttl": "12h"}}, {"cache_lifetime": "12h"}),
        ({"prompt_cache_options": {"ttl": "of a later year"}}, {"cache_lifetime": "other"}),
        ({"prompt_cache_retention": "24h"}, {"cache_lifetime": "24h"}),
        (
            {"prompt_cache_options": {"ttl": "12h"}, "prompt_cache_retention": "24h"},
            {"cache_lifetime": "12h"},
        ),
        ({"background_options": {"completion_window": "8h"}}, {"window": "8h"}),
    ],
)
def test_a_field_that_changes_a_price_is_a_condition(
    fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert of_response(**fields) == PLAIN._replace(**expected)


@pytest.mark.parametrize(
    ("fields", "tools"),
    [
        ({"tools": [SEARCH]}, ("web_search",)),
        ({"tools": [{"type": "web_search_preview_2025_03_11"}, SEARCH]}, ("web_search",)),
        ({"tools": [{"type": "web_search_of_2027"}]}, ("web_search",)),
        ({"tools": [CODE, FILES]}, ("code_interpreter", "file_search")),
        ({"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}, ("shell",)),
        ({"tools": [{"type": "shell", "environment": {"type": "local"}}]}, ()),
        ({"tools": [{"type": "time_travel"}]}, ("time_travel",)),
        ({"tools": [{"type": "Time travel!"}]}, ("unknown",)),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [SEARCH]}]}, ("web_search",)),
        (
            {"input": [{"type": "additional_tools", "role": "developer", "tools": [CODE]}]},
            ("code_interpreter",),
        ),
    ],
)
def test_every_tool_that_is_offered_is_named_by_its_fee(
    fields: dict[str, Any], tools: tuple[str, ...]
) -> None:
    assert of_response(**fields).tools == tools


@pytest.mark.parametrize(
    ("allowed", "tools", "image_model"),
    [
        ([SEARCH], ("web_search",), None),
        ([{"type": "web_search_preview"}], ("web_search",), None),
        ([IMAGES], (), "gpt-image-2.6-sunburst"),
        ([FUNCTION], (), None),
        (["web_search"], ("code_interpreter", "web_search"), "gpt-image-2.6-sunburst"),
        (None, ("code_interpreter", "web_search"), "gpt-image-2.6-sunburst"),
    ],
)
def test_only_tools_that_may_be_called_count(
    allowed: Json, tools: tuple[str, ...], image_model: str | None
) -> None:
    choice: Json = {"type": "allowed_tools", "mode": "auto", "tools": allowed}
    found = of_response(tools=[SEARCH, CODE, IMAGES, FUNCTION], tool_choice=choice)
    assert (found.tools, found.image_model) == (tools, image_model)


@pytest.mark.parametrize(
    ("tool", "models"),
    [
        ({}, ("gpt-image-2.6-sunburst", None)),
        ({"model": "gpt-image-1.5"}, ("gpt-image-1.5", None)),
        ({"svg": {"model": "gpt-6-sol"}}, ("gpt-image-2.6-sunburst", None)),
        ({"output_format": "svg"}, ("gpt-image-2.6-sunburst", "gpt-5")),
        (
            {"model": "gpt-image-2", "output_format": "svg", "svg": {"model": "gpt-6-sol"}},
            ("gpt-image-2", "gpt-6-sol"),
        ),
    ],
)
def test_the_models_of_second_bills_are_those_of_the_image_tool(
    tool: dict[str, Json], models: tuple[str, str | None]
) -> None:
    found = of_response(tools=[FUNCTION, {**IMAGES, **tool}])
    assert (found.image_model, found.svg_model) == models


def test_two_image_models_cannot_be_told_apart_in_a_bill() -> None:
    tools: list[Json] = [IMAGES, {**IMAGES, "model": "gpt-image-2"}]
    with pytest.raises(UnsupportedParameter) as refusal:
        of_response(tools=tools)
    assert refusal.value.param == "tools[1].model"


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "gpt-4o-search-preview"},
        {"model": "gpt-5-search-api", "tool_choice": "none"},
        {"web_search_options": {}},
    ],
)
def test_a_chat_that_searches_by_itself_offers_a_search(fields: dict[str, Any]) -> None:
    assert of_chat(**fields).tools == ("web_search",)


def test_a_chat_with_functions_offers_nothing() -> None:
    function: Json = {"type": "function", "function": {"name": "f"}}
    assert of_chat(tools=[function], web_search_options=None) == PLAIN


def test_embeddings_have_a_tier_and_no_tools() -> None:
    document: Document = {"model": "m", "input": [{"type": "x", "tools": [SEARCH]}]}
    assert conditions_of(EMBEDDINGS, document) == PLAIN
    assert conditions_of(EMBEDDINGS, {**document, "service_tier": "flex"}).tier == "flex"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"service_tier": 1}, "service_tier"),
        ({"prompt_cache_options": "12h"}, "prompt_cache_options"),
        ({"prompt_cache_options": {"ttl": 12}}, "prompt_cache_options.ttl"),
        ({"prompt_cache_retention": ["24h"]}, "prompt_cache_retention"),
        ({"background_options": 1}, "background_options"),
        ({"background_options": {"completion_window": 2}}, "background_options.completion_window"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidType) as refusal:
        of_response(**fields)
    assert refusal.value.param == param


def test_a_tool_is_found_by_its_fee() -> None:
    item: Json = {"type": "additional_tools", "role": "developer", "tools": [FUNCTION, CODE]}
    document = response(tools=[FUNCTION, SEARCH, IMAGES], input=[item])
    assert path_of_tool(RESPONSES, document, "web_search") == "tools[1]"
    assert path_of_tool(RESPONSES, document, "code_interpreter") == "input[0].tools[1]"
    assert path_of_images(RESPONSES, document) == "tools[2]"
    searching: Document = {"model": "gpt-4o-search-preview", "messages": []}
    assert path_of_tool(CHAT, searching, "web_search") == "model"
    options: Document = {**searching, "web_search_options": {}}
    assert path_of_tool(CHAT, options, "web_search") == "web_search_options"


@pytest.mark.parametrize(
    "fee", ["web_search", "file_search", "code_interpreter", "shell", "time_travel"]
)
def test_a_fee_has_the_kind_that_cards_have_for_it(fee: str) -> None:
    assert fee_kind(fee) == priced_kind(fee)


def test_no_tool_that_cards_take_for_free_has_a_fee() -> None:
    assert [kind for kind in FREE_TOOLS if allowance_for({"type": kind}).fee is not None] == []
