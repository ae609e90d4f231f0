"""Recorded requests that name what the upstream stores: what is held covers what they read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import orjson

from tests.support.recordings import how_many, recordings
from tests.surface.test_recorded_holds import reported
from tokenbalance.model import OPENAI
from tokenbalance.model.objects import Owned
from tokenbalance.openai import find_operation
from tokenbalance.openai.ceilings.stored import (
    UNKNOWN,
    answered,
    known_tokens,
    question_about,
    reads_of,
)
from tokenbalance.openai.estimate import count, reading
from tokenbalance.proxy.asked import read_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.recordings import Recording
    from tokenbalance.model import Document, Stored, Usage
    from tokenbalance.openai.objects.references import Reference
    from tokenbalance.openai.operation import Operation

PATHS: Final = ("/v1/responses", "/v1/responses/compact")


@dataclass(frozen=True)
class Case:
    recording: Recording
    operation: Operation
    document: Document
    reads: Sequence[Reference]
    usage: Usage

    def reads_at_most(self, stored: Stored | None) -> int:
        shown = count(self.operation, self.document)
        return reading(shown, stored, self.document).input_tokens


@cache
def cases() -> tuple[Case, ...]:
    """Every exchange with usage that names something."""
    found: list[Case] = []
    for recording in recordings(status=200):
        if recording.path not in PATHS or recording.usage is None or recording.method != "POST":
            continue
        document: Document = orjson.loads(recording.request_body)
        if document.get("background") or document.get("prompt"):
            continue
        operation = find_operation("POST", recording.path.removeprefix("/v1").encode())
        _, references, _ = read_document(operation, recording.request_body, OPENAI)
        usage = reported(recording, operation)
        if (references or operation.path.endswith("compact")) and usage is not None:
            found.append(Case(recording, operation, document, reads_of(references), usage))
    return tuple(found)


@cache
def made() -> tuple[Owned, ...]:
    """Every recorded response, as its owner has it."""
    found: list[Owned] = []
    for recording in recordings("/v1/responses", status=200, streamed=False):
        response: Document = orjson.loads(recording.response_body)
        usage, name, model = (response.get(key) for key in ("usage", "id", "model"))
        if isinstance(usage, dict) and isinstance(name, str) and isinstance(model, str):
            tokens = usage["total_tokens"]
            assert isinstance(tokens, int)
            found.append(Owned("response", name, None, "completed", tokens, None, model))
    return tuple(found)


def test_there_is_enough_to_judge_by() -> None:
    assert len(cases()) >= how_many(0, 20)
    named = {reference.kind for case in cases() for reference in case.reads}
    assert named >= ({"conversation", "file", "response"} if how_many(0, 1) else set())


def test_what_a_response_has_used_is_the_most_that_a_later_one_reads_of_it() -> None:
    known = 0
    for case in cases():
        model = str(case.document["model"])
        stored = known_tokens(case.reads, made(), model)
        if stored is not None:
            known += 1
            assert case.usage.input <= case.reads_at_most(stored), case.recording.id
            # And not much more than it reads.
            assert case.reads_at_most(stored) < case.usage.input + 1_100
    assert known >= how_many(0, 6)


def test_the_context_window_covers_what_nobody_knows() -> None:
    for case in cases():
        stored = UNKNOWN if case.reads else None
        assert case.usage.input <= case.reads_at_most(stored), case.recording.id


def test_a_count_of_the_upstream_covers_all_that_is_read() -> None:
    for case in cases():
        if not case.reads:
            continue
        question = question_about(case.operation, case.document)
        assert question is not None
        assert question["model"] == case.document["model"]
        # It is counted without what the model is told of tools.
        told = case.operation.ceiling and case.operation.ceiling.uncounted
        assert told
        counted = max(case.usage.input - told(case.document), 0)
        stored = answered(case.operation, case.document, counted)
        assert case.usage.input <= case.reads_at_most(stored), case.recording.id
