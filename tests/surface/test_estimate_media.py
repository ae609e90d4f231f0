"""The ceiling of images, audio and files, and what says that a request has any."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from tests.support.documents import (
    CHAT,
    RESPONSES,
    chat,
    parts,
    request,
    response,
)
from tokenbalance.errors import (
    InvalidType,
)
from tokenbalance.openai.estimate import bound

if TYPE_CHECKING:
    from tokenbalance.model import Document


@pytest.mark.parametrize(
    ("model", "detail", "tokens"),
    [
        ("gpt-4o", "low", 85),
        ("gpt-4o", "high", 85 + 8 * 170),
        ("gpt-4o", None, 85 + 8 * 170),
        ("gpt-4o-mini", "auto", 2_833 + 8 * 5_667),
        ("gpt-4.1-mini", "low", 2_489),
        ("o3", "high", 75 + 8 * 150),
        ("gpt-5", "high", 70 + 8 * 140),
    ],
)
def test_an_image_costs_what_the_worst_image_costs(
    model: str, detail: str | None, tokens: int
) -> None:
    url = "data:image/png;base64," + "A" * 100_000
    document = parts({"type": "image_url", "image_url": {"url": url, "detail": detail}})
    assert bound(CHAT, document | {"model": model}).input_tokens == 7 + tokens
    item = {
        "role": "user",
        "content": [{"type": "input_image", "image_url": url, "detail": detail}],
    }
    wanted = bound(RESPONSES, request(model=model, input=[item])).input_tokens
    assert tokens < wanted < tokens + 100


def test_an_images_url_is_never_fetched_nor_judged() -> None:
    document = parts({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}})
    assert bound(CHAT, document).input_tokens == 7 + 1_445


def test_audio_and_files_are_bounded_by_their_bytes_and_the_context() -> None:
    def audio(size: int) -> int:
        data = base64.b64encode(bytes(size)).decode()
        part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
        return bound(CHAT, parts(part) | {"model": "gpt-audio"}).input_tokens

    def file(size: int) -> int:
        data = "data:application/pdf;base64," + base64.b64encode(bytes(size)).decode()
        return bound(CHAT, parts({"type": "file", "file": {"file_data": data}})).input_tokens

    assert 100 <= audio(10_000) <= 300
    assert 1_000 <= file(1_000) <= 4_000
    assert audio(20_000_000) == file(1_000_000) == 7 + 128_000


def test_a_file_that_the_upstream_fetches_may_fill_the_context() -> None:
    part = {"type": "input_file", "file_url": "https://example.com/a.pdf"}
    document = response(input=[{"role": "user", "content": [part]}])
    assert bound(RESPONSES, document).input_tokens >= 1_047_576


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (chat(), False),
        (chat(modalities=["text"]), False),
        (chat(modalities=["text", "audio"]), True),
        (chat(audio={"voice": "alloy", "format": "wav"}), True),
        (chat(messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]), False),
        (
            chat(
                messages=[
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
                ]
            ),
            True,
        ),
        (chat(prediction={"type": "content", "content": "Hi"}), False),
    ],
)
def test_a_chat_says_whether_anything_but_text_may_cost_something(
    document: Document, expected: bool
) -> None:
    assert bound(CHAT, document).has_media is expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"input": "Hi"}, False),
        ({"input": [{"role": "user", "content": "Hi"}]}, False),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}]}, False),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, True),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, False),
        ({"input": [{"type": "function_call_output", "output": [{"type": "input_image"}]}]}, True),
        ({"input": [{"type": "computer_call_output", "output": {"type": "x"}}]}, True),
        ({"input": [{"type": "image_generation_call", "result": "AAAA"}]}, True),
        ({"input": [{"type": "of a later year"}]}, True),
        ({"tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}, False),
        ({"tools": [{"type": "image_generation"}]}, True),
        ({"tools": [{"type": ["function"]}]}, True),
        ({"modalities": ["audio"]}, True),
    ],
)
def test_a_response_says_whether_anything_but_text_may_cost_something(
    members: Document, expected: bool
) -> None:
    document: Document = {"model": "gpt-4o", "input": "Hi", **members}
    assert bound(RESPONSES, document).has_media is expected


def test_only_a_prediction_may_be_billed_as_output_beyond_the_cap() -> None:
    predicted = bound(CHAT, chat(n=2, prediction={"type": "content", "content": "abc"}))
    assert predicted.predicted == 6
    assert bound(CHAT, chat()).predicted == 0


@pytest.mark.parametrize(
    "members",
    [
        {"input": [{"role": "user", "content": [{"type": ["a"], "text": "a"}]}]},
        {"input": [{"role": "user", "content": [{"type": {"a": 1}, "text": "a"}]}]},
    ],
)
def test_a_part_whose_type_is_no_text_is_refused(members: Document) -> None:
    with pytest.raises(InvalidType):
        bound(RESPONSES, {"model": "gpt-4o", **members})


def test_a_format_whose_type_is_no_text_is_left_to_the_upstream() -> None:
    document: Document = {"model": "gpt-4o", "input": "Hi", "text": {"format": {"type": []}}}
    assert bound(RESPONSES, document).input_tokens > 0
