"""The meter of one JSON document, fed with hand-made responses, cut anywhere."""

from __future__ import annotations

import orjson
import pytest

from tests.support.metered_streams import (
    COUNTED,
    USAGE,
)
from tokenbalance.model import Usage
from tokenbalance.openai.metering import document as of_documents
from tokenbalance.openai.metering.document import JsonMeter


def read_document(data: bytes, size: int = 7) -> JsonMeter:
    document = JsonMeter()
    for start in range(0, len(data), size):
        document.feed(data[start : start + size])
    document.finish()
    return document


def test_a_chat_completion_has_usage_and_text() -> None:
    response = {
        "object": "chat.completion",
        "choices": [
            {
                "message": {
                    "content": "Hello",
                    "refusal": None,
                    "annotations": [{"text": "not output"}],
                    "tool_calls": [{"function": {"name": "f", "arguments": '{"a":1}'}}],
                },
                "logprobs": {"content": [{"token": "Hello"}]},
            },
            {"message": {"content": None, "refusal": " no"}},
        ],
        "usage": orjson.loads(USAGE),
        "system_fingerprint": "fp",
    }
    document = read_document(orjson.dumps(response))
    assert document.usage == COUNTED
    assert "".join(document.relayed_texts()) == 'Hello{"a":1} no'


def test_a_response_has_usage_and_text_without_what_it_repeats() -> None:
    response = {
        "instructions": "not output",
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hmm. "}]},
            {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
            {"type": "function_call", "name": "f", "arguments": "{}"},
        ],
        "text": {"format": {"type": "text"}},
        "tools": [{"parameters": {"properties": {"usage": {"prompt_tokens": 1}}}}],
        "usage": {"input_tokens": 13, "output_tokens": 11, "total_tokens": 24},
        "user": None,
    }
    document = read_document(orjson.dumps(response, option=orjson.OPT_INDENT_2))
    assert document.usage == COUNTED
    assert "".join(document.relayed_texts()) == "Hmm. Hi{}"


def test_a_completion_has_its_text() -> None:
    document = read_document(b'{"choices":[{"text":"a"},{"text":"b"}]}')
    assert document.usage is None
    assert "".join(document.relayed_texts()) == "ab"


def test_usage_far_from_the_end_of_a_document_is_found() -> None:
    response = f'{{"usage":{USAGE},"choices":[{{"text":"{"x" * 2 * of_documents.TAIL}"}}]}}'
    assert read_document(response.encode(), 10_000).usage == COUNTED


@pytest.mark.parametrize("body", ["", "[]", "null", "{", "\0", '{"usage":null}', '{"usage":"x"}'])
def test_a_document_without_usage_has_none(body: str) -> None:
    document = read_document(body.encode())
    assert document.usage is None
    assert "".join(document.relayed_texts()) == ""


def test_a_document_that_broke_off_has_the_text_that_came() -> None:
    document = read_document(b'{"choices":[{"message":{"content":"Hello wor')
    assert document.usage is None
    assert "".join(document.relayed_texts()) == "Hello wor"


@pytest.mark.parametrize("size", [1000, 70_000, 3_000_000])
def test_of_a_long_document_the_end_is_kept_and_read(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(of_documents, "DOCUMENT_MAX", 100_000)
    numbers = ",".join(["0.125"] * 400_000)
    usage = '{"prompt_tokens":22,"total_tokens":22}'
    body = f'{{"data":[{{"text":"a"}},{{"embedding":[{numbers}]}}],"usage":{usage}}}\n'
    document = read_document(body.encode(), size)
    assert document.usage == Usage({"input": 22}, total=22)
    assert len(document._body) <= 2 * of_documents.TAIL
    assert "".join(document.relayed_texts()) == "a"
