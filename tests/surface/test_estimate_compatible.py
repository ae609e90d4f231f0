"""The ceiling of requests to upstreams that are not OpenAI."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.documents import (
    CHAT,
    COMPATIBLE,
    COMPLETIONS,
    EMBEDDINGS,
    GATEWAY,
    RESPONSES,
    chat,
    request,
    response,
)
from tokenbalance.books.pricing.ceilings import affordable, paid_for, wanted_for
from tokenbalance.errors import (
    IntegerBelowMinimum,
    UnsupportedParameter,
)
from tokenbalance.model import OPENAI, UpstreamTraits
from tokenbalance.openai.estimate import UsageCounter, bound, count

if TYPE_CHECKING:
    from tokenbalance.model import Document
    from tokenbalance.openai.operation import Operation


def test_of_an_unknown_vocabulary_no_token_is_shorter_than_a_byte() -> None:
    document = chat(model="tiny")
    estimate = count(CHAT, document, COMPATIBLE)
    assert estimate.counted
    assert replace(estimate, counted=False) == bound(CHAT, document, COMPATIBLE)
    assert estimate.input_tokens == 7 + 24 + 32 + len("hello world")
    texts, tokens = request(model="m", input=["hello", "x"]), request(model="m", prompt=[7, 8])
    assert count(EMBEDDINGS, texts, COMPATIBLE).input_tokens == 2 * 4 + 6
    assert count(COMPLETIONS, tokens, COMPATIBLE).input_tokens == 4 + 2


def test_a_template_marks_each_turn_and_writes_tools_as_json() -> None:
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hi"}] * 10
    marked = count(CHAT, chat(model="tiny", messages=said), COMPATIBLE)
    assert marked.input_tokens == 3 + 32 + 20 * (4 + 24 + 2)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"enum": ["x"] * 100}}}
    offered = count(CHAT, chat(model="tiny", tools=[tool]), COMPATIBLE)
    assert offered.input_tokens > len(json.dumps(tool, indent=1))
    call = {"id": "i" * 100, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    called = chat(model="tiny", messages=[{"role": "assistant", "tool_calls": [call]}])
    assert count(CHAT, called, COMPATIBLE).input_tokens > 7 + len(json.dumps(call, indent=1))


def test_openais_models_keep_their_rules_behind_a_gateway_and_others_do_not() -> None:
    assert count(CHAT, chat(), GATEWAY) == count(CHAT, chat())
    assert count(CHAT, chat(model="tiny"), GATEWAY) == count(CHAT, chat(model="tiny"), COMPATIBLE)
    assert count(CHAT, chat(), COMPATIBLE).input_tokens > count(CHAT, chat()).input_tokens


@pytest.mark.parametrize(
    ("fields", "cap"),
    [
        ({"max_tokens": 9}, 9),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 9, "max_completion_tokens": 7}, 7),
        ({"max_tokens": 9, "n_predict": 5}, 5),
    ],
)
def test_the_smallest_limit_is_set_in_every_field_that_servers_read(
    fields: Document, cap: int
) -> None:
    estimate = bound(CHAT, chat(model="tiny", **fields), COMPATIBLE)
    assert estimate.output_cap == cap
    assert set(estimate.cap_fields) == {"max_tokens", "max_completion_tokens"} | fields.keys()
    assert estimate.tells_cap


def test_what_stands_for_no_limit_elsewhere_is_refused() -> None:
    for fields in ({"n_predict": -1}, {"max_tokens": 0}):
        for endpoint, document in (
            (CHAT, chat(model="tiny", **fields)),
            (COMPLETIONS, request(model="tiny", prompt="x", **fields)),
        ):
            with pytest.raises(IntegerBelowMinimum):
                bound(endpoint, document, COMPATIBLE)


def test_other_words_for_choices_are_choices_where_servers_read_them() -> None:
    document = chat(model="tiny", best_of=3, n_cmpl=4)
    assert bound(CHAT, document, COMPATIBLE).choices == 4
    assert bound(CHAT, document).choices == 1


def test_a_template_of_the_clients_own_is_refused_where_it_would_be_run() -> None:
    with pytest.raises(UnsupportedParameter):
        bound(CHAT, chat(model="tiny", chat_template="{{ x * 1000000 }}"), COMPATIBLE)


def test_a_completion_without_a_limit_gets_the_one_that_is_held_for() -> None:
    estimate = bound(COMPLETIONS, request(model="tiny", prompt="x"), COMPATIBLE)
    assert (estimate.output_cap, estimate.tells_cap) == (16, True)
    assert not bound(COMPLETIONS, request(model="tiny", prompt="x")).tells_cap


def test_a_limit_of_ours_is_small_unless_the_longest_output_is_covered() -> None:
    estimate = bound(CHAT, chat(model="tiny"), COMPATIBLE)
    assert (estimate.output_cap, estimate.tells_cap) == (128_000, False)
    full = wanted_for(estimate, None)
    assert affordable(estimate, full, None) == estimate
    assert affordable(estimate, full - 1, None).output_cap == 512
    assert paid_for(estimate, full, None).output_cap == 128_000
    assert paid_for(estimate, full - 1, None).output_cap == 512
    assert paid_for(estimate, estimate.input_tokens + 3, None).output_cap == 3


@pytest.mark.parametrize(
    ("endpoint", "document", "upstream", "cap", "sent"),
    [
        (CHAT, chat(), OPENAI, 1_000, True),
        (CHAT, chat(max_tokens=5), OPENAI, 5, False),
        (CHAT, chat(model="gpt-4-turbo"), OPENAI, 1_000, True),
        (CHAT, chat(model="tiny"), COMPATIBLE, 1_000, True),
        (CHAT, chat(model="tiny", max_tokens=2_000), COMPATIBLE, 2_000, True),
        (RESPONSES, response(), OPENAI, 1_000, True),
        (COMPLETIONS, request(model="davinci-002", prompt="x"), OPENAI, 16, False),
        (COMPLETIONS, request(model="tiny", prompt="x"), COMPATIBLE, 1_000, True),
        (EMBEDDINGS, request(model="m", input="x"), OPENAI, 0, False),
    ],
)
def test_the_operators_limit_is_for_requests_that_name_none(
    endpoint: Operation, document: Document, upstream: UpstreamTraits, cap: int, *, sent: bool
) -> None:
    estimate = bound(endpoint, document, replace(upstream, default_output_limit=1_000))
    assert (estimate.output_cap, estimate.tells_cap) == (cap, sent)
    assert estimate.unasked_cap is None


def test_an_operators_limit_above_the_models_own_is_not_told() -> None:
    upstream = replace(OPENAI, default_output_limit=1_000_000)
    assert bound(CHAT, chat(), upstream) == bound(CHAT, chat())


def test_what_an_unknown_vocabulary_used_is_estimated_by_words_not_by_bytes() -> None:
    counter = UsageCounter(CHAT, chat(model="tiny"), COMPATIBLE)
    assert counter("hello world").total == 9 + 2
