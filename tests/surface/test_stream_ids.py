"""No byte of an id leaves a stream before it was found, wherever the stream is cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.metered_streams import DONE
from tests.support.named_objects import CALL, LIVING, STORED, event, events_of
from tokenbalance.openai import find_operation
from tokenbalance.openai.objects import stream_ids
from tokenbalance.openai.objects.places import sought_by
from tokenbalance.openai.objects.stream_ids import StreamIds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokenbalance.model.objects import Found

RESPONSES = find_operation("POST", b"/responses")
CHATS = find_operation("POST", b"/chat/completions")
STREAM = b"".join(events_of())
SPOKEN = [
    b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n',
    b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"audio":{"id":"audio_1"}}}]}\n\n',
    b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"audio":{"data":"AAAA"}}}]}\n\n',
    DONE.encode(),
]


def ids_of(request: dict[str, Any], *, chat: bool = False) -> StreamIds:
    sought = sought_by(CHATS if chat else RESPONSES, request)
    assert sought
    return StreamIds(sought)


class Passed:
    """What has gone on of a stream, and what was written down before."""

    def __init__(self, ids: StreamIds, names: Iterable[str]) -> None:
        self.ids = ids
        self.names = [name.encode() for name in names]
        self.out = b""
        self.known: set[str] = set()
        self.committed: list[Found] = []

    def feed(self, data: bytes) -> None:
        self.take(self.ids.feed(data))
        while self.ids.pending:
            self.committed += self.ids.pending
            self.known.update(one.id for one in self.ids.pending)
            self.take(self.ids.release())

    def take(self, passing: bytes) -> None:
        self.known.update(one.id for one in self.ids.take_new())
        if not passing:
            return
        seen = self.out[-600:] + passing
        self.out += passing
        for name in self.names:
            # Not even without its closing quote.
            assert name.decode() in self.known or b'"%b' % name not in seen


def named(ids: StreamIds) -> set[tuple[str, str]]:
    return {(one.kind, one.id) for one in ids.take_found()}


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


OWN_NAMES = [name for _, name in STORED | LIVING]


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 10**6])
def test_ids_are_known_before_they_pass_wherever_the_stream_is_cut(size: int, ends: bytes) -> None:
    stream = STREAM.replace(b"\n", ends)
    passed = Passed(ids_of({}), OWN_NAMES)
    for piece in pieces(stream, size):
        passed.feed(piece)
    assert passed.out + passed.ids.finish() == stream
    assert [one.id for one in passed.committed] == ["resp_1"]
    assert named(passed.ids) == STORED | LIVING


def test_ids_are_known_before_they_pass_whatever_two_pieces_there_are() -> None:
    for cut in range(len(STREAM)):
        passed = Passed(ids_of({}), OWN_NAMES)
        passed.feed(STREAM[:cut])
        passed.feed(STREAM[cut:])
        assert passed.out + passed.ids.finish() == STREAM


@pytest.mark.parametrize("size", [1, 5, 64, 300])
def test_so_they_are_in_events_that_are_too_long_to_be_kept(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_ids, "EVENT_KEPT", 40)
    passed = Passed(ids_of({}), OWN_NAMES)
    for piece in pieces(STREAM, size):
        passed.feed(piece)
    assert passed.out + passed.ids.finish() == STREAM
    assert named(passed.ids) == STORED | LIVING


def test_a_long_event_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_ids, "EVENT_KEPT", 1000)
    ids = ids_of({})
    picture = {"type": "image_generation_call", "id": "ig_1", "result": "A" * 100_000}
    long = event("response.output_item.done", item=picture)
    out = b""
    for piece in pieces(long, 500):
        out += ids.feed(piece)
        assert len(ids._buffer) < 10_000
    assert out == long
    assert named(ids) == {("item", "ig_1")}


def test_a_stream_that_is_not_stored_names_only_what_lives_anyway() -> None:
    passed = Passed(ids_of({"store": False}), [name for _, name in LIVING])
    for piece in pieces(STREAM, 11):
        passed.feed(piece)
    assert passed.committed == []
    assert named(passed.ids) == LIVING


def test_events_without_ids_pass_as_the_same_object() -> None:
    ids = ids_of({})
    delta = event("response.output_text.delta", item_id="msg_1", delta='"item": {"id":"msg_9"}')
    assert ids.feed(delta) is delta
    assert ids.take_new() == []


def test_the_first_chunk_of_a_stored_chat_waits_and_later_ones_are_not_searched() -> None:
    passed = Passed(ids_of({"store": True}, chat=True), ["chatcmpl-1"])
    ids = passed.ids
    assert ids.feed(SPOKEN[0]) == b""
    assert ids.pending
    assert ids.release() == SPOKEN[0]
    assert ids.feed(SPOKEN[1][:20]) == SPOKEN[1][:20]
    assert named(ids) == {("chat_completion", "chatcmpl-1")}


@pytest.mark.parametrize("size", [1, 9, 1000])
def test_spoken_output_is_written_down_before_it_can_be_referred_to(size: int) -> None:
    request: dict[str, Any] = {"store": True, "modalities": ["text", "audio"], "audio": {}}
    passed = Passed(ids_of(request, chat=True), ["chatcmpl-1", "audio_1"])
    for piece in pieces(b"".join(SPOKEN), size):
        passed.feed(piece)
    assert passed.out + passed.ids.finish() == b"".join(SPOKEN)
    assert named(passed.ids) == {("chat_completion", "chatcmpl-1"), ("chat_audio", "audio_1")}


def test_nothing_passes_while_a_commit_is_awaited() -> None:
    ids = ids_of({})
    first, second, *_ = events_of()
    assert ids.feed(first) == b""
    assert ids.feed(second) == b""
    assert ids.release() == first + second


def test_what_could_not_be_written_down_waits_for_a_commit_with_what_waits_already() -> None:
    ids = ids_of({})
    stream = b"".join([event("response.output_item.added", item=CALL), *events_of()[:1]])
    passing = ids.feed(stream)
    new = ids.take_new()
    assert [one.id for one in new] == ["cntr_1", "ci_1"]
    ids.hold(new, passing)
    assert [one.id for one in ids.pending] == ["cntr_1", "ci_1", "resp_1"]
    assert ids.release() == stream
    assert ids.pending == []


@pytest.mark.parametrize("place", range(0, len(STREAM), 37))
def test_of_a_stream_that_broke_off_everything_that_came_is_found_or_does_not_pass(
    place: int,
) -> None:
    passed = Passed(ids_of({}), OWN_NAMES)
    passed.feed(STREAM[:place])
    events, begun = passed.ids.abandon()
    assert passed.out + events + begun == STREAM[:place]
    found = {name for _, name in named(passed.ids)}
    assert {name for name in OWN_NAMES if b'"%b"' % name.encode() in passed.out + events} <= found


def test_one_that_is_cut_while_its_commit_is_awaited_has_all_its_ids() -> None:
    ids = ids_of({})
    assert ids.feed(STREAM) == b""
    assert ids.abandon() == (STREAM, b"")
    assert named(ids) == STORED | LIVING


def test_a_response_is_kept_as_its_last_event_describes_it() -> None:
    ids = ids_of({})
    _ = ids.feed(STREAM), ids.release()
    (response,) = (one for one in ids.take_found() if one.kind == "response")
    assert (response.state, response.tokens) == ("completed", 24)


def test_comments_keep_a_connection_alive() -> None:
    ids = ids_of({})
    assert ids.feed(b": keep-alive\n") == b": keep-alive\n"
    assert ids.feed(b"\n") == b"\n"


def test_a_file_of_a_container_is_part_of_it_in_a_stream_too() -> None:
    ids = ids_of({})
    _ = ids.feed(STREAM), ids.release()
    parents = {one.id: one.parent for one in ids.take_found()}
    assert parents["cfile_1"] == "cntr_1"
    assert parents["msg_1"] == "resp_1"
    assert parents["cntr_1"] is None


def test_a_chat_without_a_store_is_not_searched() -> None:
    assert sought_by(CHATS, {"messages": []}) is None
