"""Wrong fields that decide the cost of a request, and everything hostile that is at hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import hostile
from tests.support.documents import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    OPERATIONS,
    chat,
    messages,
    parts,
    refusal,
    request,
)
from tokenbalance.books.pricing.ceilings import wanted_for
from tokenbalance.errors import (
    EmptyArray,
    IntegerAboveMaximum,
    IntegerBelowMinimum,
    InvalidType,
    MissingParameter,
    ModelNotFound,
    ObjectNotFound,
    ProxyError,
)
from tokenbalance.model import OPENAI, Estimate
from tokenbalance.openai.documents import parse_document
from tokenbalance.openai.estimate import bound, count
from tokenbalance.proxy.asked import read_document

if TYPE_CHECKING:
    from tokenbalance.model import Document


# Refusals.


@pytest.mark.parametrize(
    ("document", "error", "param"),
    [
        ({"messages": []}, MissingParameter, "model"),
        ({"model": None, "messages": []}, InvalidType, "model"),
        ({"model": ["m"], "messages": []}, InvalidType, "model"),
        ({"model": "gpt-4o"}, MissingParameter, "messages"),
        (chat(model="GPT-4o"), ModelNotFound, "model"),
        (chat(messages=[]), EmptyArray, "messages"),
        (chat(messages="hi"), InvalidType, "messages"),
        (messages(1), InvalidType, "messages[0]"),
        (messages({"content": "x"}), MissingParameter, "messages[0].role"),
        (messages({"role": "user"}), MissingParameter, "messages[0].content"),
        (messages({"role": "user", "content": None}), InvalidType, "messages[0].content"),
        (messages({"role": "tool", "content": 5}), InvalidType, "messages[0].content"),
        (parts({"type": "text", "text": 5}), InvalidType, "messages[0].content[0].text"),
        (chat(max_tokens=-1), IntegerBelowMinimum, "max_tokens"),
        (chat(max_tokens=0), IntegerBelowMinimum, "max_tokens"),
        (chat(max_tokens="16"), InvalidType, "max_tokens"),
        (chat(max_tokens=16.0), InvalidType, "max_tokens"),
        (chat(max_tokens=True), InvalidType, "max_tokens"),
        (chat(max_tokens=2**31), IntegerAboveMaximum, "max_tokens"),
        (chat(n=129), IntegerAboveMaximum, "n"),
        (chat(n=0), IntegerBelowMinimum, "n"),
        (chat(stream="false"), InvalidType, "stream"),
        (chat(stream=1), InvalidType, "stream"),
        (chat(stream_options=[]), InvalidType, "stream_options"),
        (
            chat(stream_options={"include_usage": "no"}),
            InvalidType,
            "stream_options.include_usage",
        ),
        (chat(tools={}), InvalidType, "tools"),
        (chat(tools=[1]), InvalidType, "tools[0]"),
    ],
)
def test_a_wrong_field_that_decides_the_cost_is_refused(
    document: Document, error: type[ProxyError], param: str
) -> None:
    assert refusal(CHAT, document) == (error, param)


@pytest.mark.parametrize("content", [None, "", "hi", [{"type": "refusal", "refusal": "no"}]])
def test_an_assistant_may_have_said_nothing(content: object) -> None:
    document = messages({"role": "assistant", "content": content})
    assert bound(CHAT, document).input_tokens >= 7


@pytest.mark.parametrize(
    ("prompt", "error", "param"),
    [
        (5, InvalidType, "prompt"),
        ([1, "x"], InvalidType, "prompt[1]"),
        (["x", 1], InvalidType, "prompt[1]"),
        ([True], InvalidType, "prompt[0]"),
        ([1, 2, True, 3], InvalidType, "prompt[2]"),
        ([[1.5]], InvalidType, "prompt[0][0]"),
        ([[1], [2, 3, None]], InvalidType, "prompt[1][2]"),
    ],
)
def test_prompts_are_texts_or_tokens(prompt: object, error: type[ProxyError], param: str) -> None:
    document = request(model="davinci-002", prompt=prompt)
    assert refusal(COMPLETIONS, document) == (error, param)


def test_a_completion_without_a_prompt_begins_a_text_of_its_own() -> None:
    absent: list[dict[str, object]] = [{}, {"prompt": None}, {"prompt": []}]
    for fields in absent:
        estimate = count(COMPLETIONS, request(model="davinci-002", n=2, **fields))
        assert (estimate.input_tokens, estimate.choices) == (1, 2)


def test_a_completion_has_limits_of_its_own() -> None:
    echoed = request(model="davinci-002", prompt="hello world", echo=True, max_tokens=0, best_of=0)
    estimate = count(COMPLETIONS, echoed)
    assert (estimate.output_cap, estimate.choices) == (0, 1)
    assert wanted_for(estimate, None) == 2
    for fields in ({"max_tokens": -1}, {"best_of": -1}, {"n": 0}):
        wrong = request(model="davinci-002", prompt="x", **fields)
        assert refusal(COMPLETIONS, wrong)[0] is IntegerBelowMinimum


def test_a_prompt_has_no_empty_list_in_it_and_is_no_object() -> None:
    nothing: list[object] = []
    assert refusal(COMPLETIONS, request(model="m", prompt=[nothing])) == (EmptyArray, "prompt[0]")
    assert refusal(EMBEDDINGS, request(model="m", input=nothing)) == (EmptyArray, "input")
    assert refusal(EMBEDDINGS, request(model="m", input=chat())) == (InvalidType, "input")


def test_a_huge_hostile_request_is_bounded() -> None:
    body = json.dumps(chat(messages=[{"role": "user", "content": ""}] * 20_000)).encode()
    assert bound(CHAT, parse_document(body)).input_tokens == 3 + 4 * 20_000


# Everything hostile that is at hand.


def bad_inputs() -> list[Any]:
    return [
        pytest.param(case, id=case["id"])
        for case in hostile.lines()
        if case["category"] in {"json-syntax", "priced-params", "billing-bypass"}
        and case.get("path") in OPERATIONS
    ]


def outcome_of(case: dict[str, Any]) -> Estimate | ProxyError:
    try:
        _, references, bound = read_document(
            OPERATIONS[case["path"]], hostile.body_of(case), OPENAI
        )
        # Nobody has what a hostile request names.
        return ObjectNotFound("not found", param=references[0].param) if references else bound
    except ProxyError as error:
        return error


@pytest.mark.parametrize("case", bad_inputs())
def test_a_hostile_request_is_refused_as_expected_or_bounded(case: dict[str, Any]) -> None:
    outcome = outcome_of(case)
    if isinstance(outcome, ProxyError):
        assert outcome.status in case["expect_status"], outcome.message
        assert outcome.code in case.get("expect_code", [outcome.code])
    elif 200 in case["expect_status"]:
        assert wanted_for(outcome, None) > 0
    else:
        # What is neither refused here nor sent on is refused for its price.
        assert 402 in case["expect_status"]
        assert wanted_for(outcome, None) > 100_000
