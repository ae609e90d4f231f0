"""Usage objects, as the API reports them and as it must not."""

from __future__ import annotations

import orjson
import pytest

from tokenbalance.model import Json, Usage
from tokenbalance.openai.metering.usage import read_usage, trailing_usage


def test_a_chat_usage_is_read_with_its_details() -> None:
    report: Json = {
        "prompt_tokens": 392,
        "completion_tokens": 530,
        "total_tokens": 922,
        "prompt_tokens_details": {"audio_tokens": 7, "cached_tokens": 128, "image_tokens": 65},
        "completion_tokens_details": {
            "accepted_prediction_tokens": 0,
            "audio_tokens": 3,
            "image_tokens": 2,
            "reasoning_tokens": 384,
            "rejected_prediction_tokens": 0,
        },
    }
    assert read_usage(report) == Usage(
        {
            "input": 392,
            "cached_input": 128,
            "output": 530,
            "reasoning": 384,
            "audio_input": 7,
            "audio_output": 3,
            "image_input": 65,
            "image_output": 2,
        },
        total=922,
    )


def test_a_responses_usage_is_read_with_its_details() -> None:
    report: Json = {
        "input_tokens": 15,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 24,
    }
    expected = Usage({"input": 15, "cached_input": 4, "output": 9, "reasoning": 2}, total=24)
    assert read_usage(report) == expected


def test_an_embeddings_usage_has_no_output() -> None:
    assert read_usage({"prompt_tokens": 22, "total_tokens": 22}) == Usage({"input": 22}, total=22)


def test_a_missing_total_is_input_and_output() -> None:
    usage = read_usage({"prompt_tokens": 3, "completion_tokens": 4})
    assert usage == Usage({"input": 3, "output": 4}, total=7)


def test_a_total_is_the_truth_even_when_it_is_not_the_sum() -> None:
    usage = read_usage({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 40})
    assert usage is not None
    assert usage.total == 40


def test_zeros_are_believed_only_with_a_total() -> None:
    zeros: dict[str, Json] = {"input_tokens": 0, "output_tokens": 0}
    assert read_usage({**zeros, "total_tokens": 0}) == Usage()
    assert read_usage(zeros) is None


@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "total_tokens"])
@pytest.mark.parametrize("broken", [-1, 1e30, 3.5, 3.0, "3", True, None, [], {}, 2**53 + 1])
def test_a_broken_counter_makes_the_report_void(name: str, broken: Json) -> None:
    report: dict[str, Json] = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert read_usage(report) is not None
    assert read_usage({**report, name: broken}) is None


def test_the_largest_exact_count_is_a_count() -> None:
    usage = read_usage({"prompt_tokens": 2**53, "total_tokens": 2**53})
    assert usage is not None
    assert usage.total == 2**53


@pytest.mark.parametrize("broken", [-1, 1e30, 3.5, "3", True, None, [], {}, 2**53 + 1, 100])
def test_a_broken_detail_is_none_of_it(broken: Json) -> None:
    report: Json = {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": broken, "audio_tokens": 1},
    }
    expected = Usage({"input": 3, "output": 4, "audio_input": 1}, total=7)
    assert read_usage(report) == expected


@pytest.mark.parametrize("details", [None, [], "x", 3, True])
def test_details_that_are_no_object_are_none(details: Json) -> None:
    report: Json = {"input_tokens": 3, "total_tokens": 7, "input_tokens_details": details}
    assert read_usage(report) == Usage({"input": 3}, total=7)


@pytest.mark.parametrize("value", [None, [], "usage", 3, True, {}, {"total_tokens": 7}])
def test_what_names_no_input_is_no_report(value: Json) -> None:
    assert read_usage(value) is None


@pytest.mark.parametrize(
    "document",
    [
        '{"a":[{"b":1}],"usage":{"prompt_tokens":1}}',
        '{"usage":{"prompt_tokens":1},"metadata":{"usage":{"prompt_tokens":9}}}',
        '{"metadata":{"usage":{"prompt_tokens":9}},"usage" : {"prompt_tokens":1} , "z":[]}\n\n',
        '{"usage":{"prompt_tokens":1},"text":"so \\"usage\\":{\\"prompt_tokens\\":9}}"}',
        '{"usage":{"prompt_tokens":1},"x\\"usage":{"prompt_tokens":9}}',
        '{"usage":{"prompt_tokens":1},"list":["usage"],"word":"usage"}',
    ],
)
def test_the_usage_at_the_top_is_found_from_the_end(document: str) -> None:
    assert orjson.loads(document)["usage"] == {"prompt_tokens": 1}
    for cut in range(document.index('"usage"')):
        found = trailing_usage(document[cut:].encode())
        assert found is not None
        offset, members = found
        assert members["usage"] == {"prompt_tokens": 1}
        assert document[cut + offset :].startswith('"usage"')


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{}",
        '{"metadata":{"usage":{"prompt_tokens":9}}}',
        '[{"usage":{"prompt_tokens":9}}]',
        '{"text":"\\"usage\\":{}}"}',
        '{"usage":{"prompt_tokens":9}',
        '{"a":1}"usage"',
    ],
)
def test_a_document_without_usage_at_the_top_has_none(document: str) -> None:
    assert trailing_usage(document.encode()) is None


def test_the_usage_one_level_down_is_found_by_what_opens_it() -> None:
    event = b'{"type":"response.completed","response":{"id":"r","usage":{"input_tokens":1},"u":0}}'
    assert trailing_usage(event) is None
    found = trailing_usage(event, b'{"response":{')
    assert found is not None
    assert found[1] == {"response": {"usage": {"input_tokens": 1}, "u": 0}}


def test_the_search_gives_up_on_a_document_full_of_usages() -> None:
    nested = b'{"a":' * 20 + b'{"usage":0}' + b',"usage":0}' * 20
    assert trailing_usage(nested) is not None
    assert trailing_usage(b'{"usage":1,"a":' + b'{"usage":0,"b":' * 20 + b"0" + b"}" * 21) is None
