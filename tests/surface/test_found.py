"""Which objects a document names, and what is kept of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.named_objects import CHAT, LIVING, RESPONSE, STORED
from tokenbalance.model.objects import Found
from tokenbalance.openai import find_operation
from tokenbalance.openai.families import READ
from tokenbalance.openai.objects.found import found_at, found_in
from tokenbalance.openai.objects.places import sought_by
from tokenbalance.openai.operation import Examples, Operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenbalance.model import Document

RESPONSES = find_operation("POST", b"/responses")
CHATS = find_operation("POST", b"/chat/completions")


def named(operation: Operation, document: Any, request: Any) -> set[tuple[str, str]]:
    sought = sought_by(operation, request)
    if sought is None:
        return set()
    return {(one.kind, one.id) for one in found_at(sought.places, document, None)}


def row(*places: str, uses: Sequence[str] = ()) -> Operation:
    path = "/things" + "".join(f"/{{id_{number}}}" for number, _ in enumerate(uses))
    examples = Examples({}, {})
    return Operation(
        "GET", path, READ, "x", uses=(*uses,), own_derived=places, own_examples=examples
    )


@pytest.mark.parametrize("store", [{}, {"store": None}, {"store": True}])
def test_a_response_and_its_items_are_the_callers_unless_they_are_not_stored(
    store: dict[str, Any],
) -> None:
    assert named(RESPONSES, RESPONSE, store) == STORED | LIVING
    assert named(RESPONSES, RESPONSE, {"store": False}) == LIVING


def test_a_chat_is_the_callers_only_if_it_is_stored_and_its_audio_anyway() -> None:
    audio = {("chat_audio", "audio_1")}
    assert named(CHATS, CHAT, {}) == set()
    assert named(CHATS, CHAT, {"audio": {"voice": "alloy"}, "store": False}) == audio
    assert named(CHATS, CHAT, {"modalities": ["audio"], "store": True}) == {
        ("chat_completion", "chatcmpl-1"),
        *audio,
    }


def test_items_go_with_their_response_or_with_the_conversation_that_they_are_in() -> None:
    parents = {one.id: one.parent for one in found_in(RESPONSES, RESPONSE)}
    assert parents["msg_1"] == parents["ci_1"] == "resp_1"
    # What lives on without the response is no part of it.
    assert {parents[name] for name in ("resp_1", "cntr_1", "cntr_2", "file-1", "file-2")} == {None}
    assert parents["cfile_1"] == "cntr_1"
    talk: Document = {**RESPONSE, "conversation": {"id": "conv_1"}}
    assert {one.parent for one in found_in(RESPONSES, talk) if one.kind == "item"} == {"conv_1"}


def test_a_response_keeps_the_tokens_that_continuing_it_reads_again() -> None:
    response = found_in(RESPONSES, RESPONSE)[0]
    assert (response.id, response.state, response.tokens) == ("resp_1", "completed", 24)
    drawn: Document = {**RESPONSE, "output": [{"type": "image_generation_call", "id": "ig_1"}]}
    assert found_in(RESPONSES, drawn)[0].tokens is None


def test_a_listed_object_is_kept_as_it_was_described() -> None:
    document: Document = {
        "id": "file-1",
        "object": "file",
        "bytes": 7,
        "expires_at": 9,
        "status": "uploaded",
    }
    (found,) = found_in(row("file:$.id"), document)
    assert found.snapshot
    assert (found.size, found.expires_at, found.state) == (7, 9, "uploaded")
    completed: Document = {"id": "upload_1", "status": "completed", "file": document}
    assert found_in(row("file:$.file.id", uses=["upload"]), completed, "upload_1") == [found]
    (long,) = found_in(row("file:$.id"), {**document, "filename": "x" * 65_536})
    assert long.snapshot is None


def test_a_file_of_a_vector_store_is_the_file_itself() -> None:
    listed: Document = {"data": [{"id": "file-1", "status": "completed", "usage_bytes": 9}]}
    operation = row("vector_store_file:$.data[].id", uses=["vector_store"])
    assert found_in(operation, listed, "vs_1") == [Found("file", "file-1")]


def test_files_of_a_container_are_parts_of_it() -> None:
    listed: Document = {"data": [{"id": "cfile_1", "bytes": 5}], "first_id": "cfile_1"}
    operation = row("container_file:$.data[].id", uses=["container"])
    found = Found("container_file", "cfile_1", "cntr_1", size=5)
    assert found_in(operation, listed, "cntr_1") == [found]


@pytest.mark.parametrize("name", ["", "x" * 513, 7, None, ["file-1"]])
def test_what_cannot_be_an_id_is_none(name: Any) -> None:
    assert found_in(row("file:$.id"), {"id": name}) == []
