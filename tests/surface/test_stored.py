"""What the model reads that is stored: added to a ceiling, never beyond what it can read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.documents import CHAT, RESPONSES, chat, response
from tokenbalance.books.pricing.ceilings import wanted_for
from tokenbalance.books.pricing.rate_card import read_rate_card
from tokenbalance.model import PLAIN, Estimate, HostedCalls, Stored
from tokenbalance.model.objects import Owned
from tokenbalance.openai import find_operation
from tokenbalance.openai.ceilings.stored import (
    UNKNOWN,
    answered,
    known_tokens,
    question_about,
    reads_of,
    stored_at_most,
)
from tokenbalance.openai.estimate import UsageCounter, count, reading
from tokenbalance.openai.objects.references import references
from tokenbalance.openai.objects.refusal import references_of
from tokenbalance.openai.tokens.models import model_for

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json

WINDOW = 10_000
TOKENS = st.integers(0, 2 * WINDOW)


@given(TOKENS, TOKENS, st.booleans(), st.integers(0, 100))
def test_a_first_turn_is_no_longer_than_the_window_unless_it_is_shown_so(
    shown: int, tokens: int, of_all: bool, predicted: int
) -> None:
    plain = Estimate(shown + predicted, predicted=predicted)
    added = plain.with_stored(Stored(tokens, of_all=of_all), WINDOW)
    first = added.input_tokens - predicted
    assert shown <= first <= max(shown, WINDOW)
    assert first >= min(tokens if of_all else shown + tokens, WINDOW)
    assert (added.has_media, added.assumed) == (True, 0)
    unknown = plain.with_stored(UNKNOWN, WINDOW)
    assert unknown.input_tokens - predicted == max(shown, WINDOW)
    assert unknown.without_assumed.input_tokens == plain.input_tokens


@given(TOKENS, TOKENS, st.integers(0, 8))
def test_every_turn_after_a_call_of_a_tool_reads_it_again(
    shown: int, tokens: int, most: int
) -> None:
    calls = HostedCalls(shown, 100, WINDOW, most, 0, None)
    plain = Estimate(calls.input_tokens(most), calls=calls)
    added = plain.with_stored(Stored(tokens), WINDOW)
    first = max(shown, min(shown + tokens, WINDOW))
    assert added.known_input == first
    assert added.input_tokens >= (most + 1) * first
    assert added.with_calls(0).input_tokens == first
    unknown = plain.with_stored(UNKNOWN, WINDOW)
    assert unknown.without_assumed.input_tokens == plain.input_tokens


def test_what_is_stored_may_make_a_long_input_of_a_short_one() -> None:
    card = read_rate_card("""
version = 2

[[models]]
match = "*"
input = 1
output = 1
audio_input = 7
long = { above = 1000, input = 2, output = 2 }
""")
    rates = card.rates_for("gpt-4.1", PLAIN)
    shown = Estimate(100, output_cap=50)
    # Images and sounds may be stored.
    assert wanted_for(shown, rates) == 150
    assert wanted_for(shown.with_stored(Stored(900), WINDOW), rates) == 7 * 1_000 + 50
    assert wanted_for(shown.with_stored(Stored(901), WINDOW), rates) == 2 * (7 * 1_001 + 50)


def test_what_is_stored_is_charged_where_nothing_is_reported() -> None:
    document = response(previous_response_id="resp_1")
    shown = UsageCounter(RESPONSES, document)("one two").total
    stored = UsageCounter(RESPONSES, document, stored=Stored(500))
    assert stored("one two").total == shown + 500
    assert stored.input_bound() >= 500


# Which references are read.


def read(operation: Any, document: Document) -> list[str]:
    return [each.param for each in reads_of(references_of(operation, document))]


FILE = {"type": "input_file", "file_id": "file_1"}


@pytest.mark.parametrize(
    ("item", "params"),
    [
        ({"role": "user", "content": [FILE, FILE]}, ["content[0].file_id", "content[1].file_id"]),
        ({"type": "function_call_output", "call_id": "c", "output": [FILE]}, ["output[0].file_id"]),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}, []),
        ({"type": "of_next_year", "file_id": "file_1"}, ["file_id"]),
        ({"type": "item_reference", "id": "msg_1"}, ["id"]),
        ({"type": "reasoning", "id": "rs_1"}, ["id"]),
        ({"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}, []),
        ({"type": "compaction", "id": "cmp_1"}, ["id"]),
        ({"type": "image_generation_call", "id": "ig_1"}, ["id"]),
        ({"type": "message", "role": "assistant", "id": "msg_1", "content": "Hi"}, []),
        ({"type": "file_search_call", "results": [{"file_id": "file_1", "text": "x"}]}, []),
        ({"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"}, []),
        (
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "output_text",
                        "text": "x",
                        "annotations": [{"type": "file_citation", "file_id": "file_1"}],
                    }
                ],
            },
            [],
        ),
    ],
)
def test_of_the_items_of_an_input_those_are_read_that_it_does_not_show(
    item: Any, params: list[str]
) -> None:
    assert read(RESPONSES, response(input=[item])) == [f"input[0].{param}" for param in params]


def test_a_file_and_an_earlier_sound_are_read_in_a_chat_and_a_voice_is_not() -> None:
    document = chat(
        audio={"voice": {"id": "voice_1234"}, "format": "mp3"},
        messages=[
            {"role": "user", "content": [{"type": "file", "file": {"file_id": "file_1"}}]},
            {"role": "assistant", "audio": {"id": "audio_1"}},
        ],
    )
    assert read(CHAT, document) == ["messages[0].content[0].file.file_id", "messages[1].audio.id"]
    window = model_for(str(document["model"])).context
    assert reading(CHAT, count(CHAT, document), UNKNOWN, document).input_tokens == window


def test_files_that_are_no_part_of_a_prompt_have_rules_of_their_own() -> None:
    edit: Document = {"images": [{"file_id": "file_1"}]}
    container: Document = {"name": "x", "file_ids": ["file_1"]}
    for path, document in [("/images/edits", edit), ("/containers", container)]:
        operation = find_operation("POST", path.encode())
        found = references_of(operation, document)
        assert found
        assert stored_at_most(operation, found) is None


# What is known, and what is asked.


@pytest.mark.parametrize(
    ("owned", "model", "is_known"),
    [
        ({"tokens": 9, "model": "gpt-5-2025-08-07"}, "gpt-5", True),
        ({"tokens": 9, "model": "gpt-5"}, "gpt-5-2025-08-07", True),
        ({"tokens": 9, "model": "gpt-5"}, "gpt-5", True),
        ({"tokens": 9, "model": "gpt-5", "state": "incomplete"}, "gpt-5", True),
        ({"tokens": 9, "model": "gpt-5-mini"}, "gpt-5", False),
        ({"tokens": 9, "model": None}, "gpt-5", False),
        ({"tokens": None, "model": "gpt-5"}, "gpt-5", False),
        ({"tokens": 9, "model": "gpt-5", "state": "in_progress"}, "gpt-5", False),
        ({"tokens": 9, "model": "gpt-5", "state": "queued"}, "gpt-5", False),
    ],
)
def test_a_finished_response_of_the_same_model_is_known(
    owned: dict[str, Any], model: str, is_known: bool
) -> None:
    found = references("responses", {"previous_response_id": "resp_1"})
    one = Owned("response", "resp_1", None, owned.get("state"), owned["tokens"], None)
    one.model = owned["model"]  # pyright: ignore[reportAttributeAccessIssue] - plain at run time
    stored = known_tokens(found, [one], model)
    assert (stored is not None) is is_known
    if stored is not None:
        assert (stored.tokens or 0) >= 9


def test_nothing_is_known_of_two_objects_together() -> None:
    item: dict[str, Json] = {"type": "item_reference", "id": "msg_1"}
    one = Owned("response", "resp_1", None, None, 9, None, "gpt-4.1")
    both = references("responses", {"previous_response_id": "resp_1", "input": [item]})
    assert known_tokens(both[:1], [one], "gpt-4.1") is not None
    assert known_tokens(both, [one], "gpt-4.1") is None


def test_what_the_upstream_does_not_count_is_added_to_its_count() -> None:
    tools = [{"type": "web_search"}]
    assert answered(RESPONSES, response(), 100) == Stored(100, of_all=True)
    told = answered(RESPONSES, response(tools=tools), 100)
    assert told == Stored(100 + 5_120, of_all=True)
    compact = find_operation("POST", b"/responses/compact")
    assert answered(compact, response(), 100) == Stored(100 + 1_024, of_all=True)
    for tokens in (-1, 1.5, True, "9", None):
        assert answered(RESPONSES, response(), tokens) is None


def test_a_chat_and_a_file_at_a_url_are_not_asked_about() -> None:
    assert question_about(CHAT, chat()) is None
    file = {"type": "input_file", "file_url": "https://example.com/a.pdf"}
    assert question_about(RESPONSES, response(input=[{"content": [file]}])) is None
    assert question_about(RESPONSES, response(metadata={"a": "b"}, tools=None)) == response()
