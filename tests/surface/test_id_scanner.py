"""The ids of documents that are too long to be kept, wherever they are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support.named_objects import LIVING, RESPONSE, STORED
from tokenbalance.openai import find_operation
from tokenbalance.openai.objects.places import Place, sought_by
from tokenbalance.openai.objects.scanner import IdScanner

if TYPE_CHECKING:
    from tokenbalance.model.objects import Found

RESPONSES = find_operation("POST", b"/responses")


def scanner() -> IdScanner:
    sought = sought_by(RESPONSES, {})
    assert sought
    return IdScanner(sought.places)


def found_in(body: bytes, size: int) -> list[Found]:
    reader = scanner()
    return [
        one
        for start in range(0, len(body), size)
        for one in reader.feed(body[start : start + size])
    ]


@pytest.mark.parametrize("option", [0, orjson.OPT_INDENT_2], ids=["compact", "indented"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 17, 100, 10**6])
def test_they_are_those_that_a_parser_finds(size: int, option: int) -> None:
    found = found_in(orjson.dumps(RESPONSE, option=option), size)
    assert {(one.kind, one.id) for one in found if one.kind != "file"} == {
        pair for pair in STORED | LIVING if pair[0] != "file"
    }
    parents = {one.id: one.parent for one in found}
    assert (parents["msg_1"], parents["cfile_1"], parents["cntr_1"]) == ("resp_1", "cntr_1", None)


@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_what_a_request_or_a_model_wrote_is_never_one(size: int) -> None:
    hostile: dict[str, Any] = {
        "metadata": {
            "id": "resp_9", "output": "x", '"id': "resp_9", "\\": "\\", "[]": "a", "file_id": "b",
        },
        "instructions": '"id":"resp_9","output":[{"id":"msg_9"}]',
        "tools": [{"output": [{"id": "msg_9", "container_id": "cntr_9"}]}],
        "output": [{"id": "msg_1", "content": [{"text": '\\","id":"msg_9'}], "x": {"id": "x"}}],
        "x" * 5000: "resp_9",
        "id": "resp_1",
    }  # fmt: skip
    names = {one.id for one in found_in(orjson.dumps(hostile), size)}
    assert names == {"msg_1", "resp_1"}


def test_an_id_is_recognised_however_it_is_written() -> None:
    body = rb'{"\u0069d" : "resp\u005f1", "output":[ {"type":"x","id":"msg_1"} ]}'
    assert {one.id for one in found_in(body, 3)} == {"resp_1", "msg_1"}


def test_a_picture_is_not_kept() -> None:
    reader = scanner()
    found: list[Found] = []
    for piece in (b'{"id":"resp_1","output":[{"result":"', *[b"A" * 9999] * 9, b'","id":"ig_1"}]}'):
        found = reader.feed(piece)
        assert reader.unfinished < 10_000
    assert [one.id for one in found] == ["ig_1"]


def test_what_may_be_a_part_of_an_id_is_said() -> None:
    reader = IdScanner([Place("file", ("id",))])
    assert reader.feed(b'{"id":"file-') == []
    assert reader.unfinished == len(b'"file-')
    assert [one.id for one in reader.feed(b'1"')] == ["file-1"]
    assert reader.unfinished == 0


@pytest.mark.parametrize(
    "body", [b"]}{", b"<html>", b'"', b'{"a":}', b'{"id":"\\', b'{"id":"\\ux"}']
)
def test_what_is_no_document_has_none(body: bytes) -> None:
    assert found_in(body, 1) == []
