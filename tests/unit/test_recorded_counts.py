"""The ceiling of requests whose true cost the real API has reported: never below it.

The recordings lie beside the checkout, in `shared/data`; without them these tests are skipped.
"""

from __future__ import annotations

import gzip
import json
import statistics
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tokenbalance.document import parse_document
from tokenbalance.errors import UnsupportedParameter
from tokenbalance.model import Endpoint, Metering
from tokenbalance.stages.estimate import bound, count

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parents[3] / "shared" / "data"
COUNTS = DATA / "token-counts.jsonl.gz"
RECORDINGS = DATA / "openai-recordings.jsonl.gz"
MEDIA = frozenset({
    "computer_screenshot", "file", "image_url", "input_audio", "input_file", "input_image",
})  # fmt: skip
METERING = {
    "/v1/chat/completions": Metering.CHAT,
    "/v1/completions": Metering.COMPLETIONS,
    "/v1/embeddings": Metering.EMBEDDINGS,
    "/v1/responses": Metering.RESPONSES,
}

pytestmark = pytest.mark.skipif(
    not (COUNTS.exists() and RECORDINGS.exists()),
    reason="shared/data with the recorded counts is not beside the checkout",
)


@dataclass(frozen=True)
class Case:
    """One request and the input tokens that the API reported for it."""

    source: str
    metering: Metering
    body: bytes
    document: dict[str, Any]
    real: int
    counted: int
    bounded: int

    @property
    def is_hosted(self) -> bool:
        tools: list[dict[str, Any]] = self.document.get("tools") or []
        items: Any = self.document.get("input")
        kinds = {str(tool["type"]) for tool in tools}
        if self.metering is Metering.RESPONSES and not isinstance(items, str):
            kinds |= {
                str(item["type"]) for item in items if str(item.get("type")).endswith("_call")
            }
        return bool(kinds - {"function", "function_call"})

    @property
    def is_media(self) -> bool:
        return any(f'"type": "{kind}"' in json.dumps(self.document) for kind in MEDIA)

    @property
    def is_text(self) -> bool:
        return not self.is_media and not self.is_hosted


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") as file:
        yield from map(json.loads, file)


def requests() -> Iterator[tuple[str, str, Any, int]]:
    """Source, path, body and reported tokens of everything that was answered with a count."""
    for line in lines(COUNTS):
        yield line["source"], line["endpoint"], line["request"], line["prompt_tokens"]
    for line in lines(RECORDINGS):
        usage: dict[str, Any] = line["usage"] or {}
        tokens: Any = usage.get("prompt_tokens", usage.get("input_tokens"))
        if line["path"] in METERING and tokens is not None:
            yield line["id"], line["path"], json.loads(line["request_body"]), tokens


@cache
def cases() -> tuple[Case, ...]:
    """Every request that may be made through a shared key, each but once."""
    found: dict[tuple[str, int], Case] = {}
    for source, path, request, real in requests():
        body = json.dumps(request).encode()
        if path not in METERING or (body.decode(), real) in found:
            continue
        endpoint = Endpoint("POST", path.removeprefix("/v1"), METERING[path], "")
        document = parse_document(body)
        try:
            bounded = bound(endpoint, document).input_tokens
        except UnsupportedParameter:
            continue
        counted = count(endpoint, document).input_tokens
        found[body.decode(), real] = Case(
            source, METERING[path], body, request, real, counted, bounded
        )
    return tuple(found.values())


def test_there_is_enough_to_judge_by() -> None:
    text = [case for case in cases() if case.is_text]
    assert len(text) > 400
    assert {case.metering for case in text} == set(METERING.values())
    assert len(cases()) - len(text) > 60


def test_no_request_cost_more_input_than_its_ceiling() -> None:
    below = [
        f"{case.source}: {case.real} but {case.counted}"
        for case in cases()
        if case.counted < case.real
    ]
    assert below == []


def test_no_count_exceeds_the_bound_by_bytes() -> None:
    assert [case.source for case in cases() if case.bounded < case.counted] == []


def test_the_ceiling_of_text_is_near_the_truth() -> None:
    ratios = [case.counted / case.real for case in cases() if case.is_text and case.real]
    assert statistics.median(ratios) < 1.25
    assert statistics.quantiles(ratios, n=20)[-1] < 6


def test_a_plain_text_chat_is_exact() -> None:
    plain = {"model", "messages", "stream", "temperature", "max_tokens", "stop", "stream_options"}
    chats = [
        case
        for case in cases()
        if case.metering is Metering.CHAT
        and plain >= case.document.keys()
        and all(
            isinstance(message.get("content"), str)
            and message.keys() <= {"role", "content", "name"}
            and message["role"] != "function"
            for message in case.document["messages"]
        )
        and str(case.document["model"]).startswith("gpt-")
        and not str(case.document["model"]).startswith("gpt-5")
    ]
    assert len(chats) > 100
    assert [
        (case.source, case.real, case.counted) for case in chats if case.real != case.counted
    ] == []
