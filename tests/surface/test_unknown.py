"""Operations that are in no table: which paths may be ones, and what of them counts as an id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tokenbalance.errors import EndpointNotAllowed, InvalidRequest, UnknownUrl, UnsupportedParameter
from tokenbalance.openai import OPERATIONS, Surface
from tokenbalance.openai.estimate import bound, count
from tokenbalance.openai.unknown import (
    IDS_MAX,
    ids_of_path,
    ids_of_request,
    ids_of_response,
    unknown_operation,
)

if TYPE_CHECKING:
    from tokenbalance.model import Document

UNKNOWN = unknown_operation(500)
SURFACE = Surface(OPERATIONS, UNKNOWN)


@pytest.mark.parametrize("path", [b"/new", b"/new/things", b"/embeddings/blends", b"/new/th_1/x-2"])
def test_a_post_to_a_path_that_nobody_knows_is_let_through(path: bytes) -> None:
    assert SURFACE.find("POST", path, b"a=b") is UNKNOWN
    assert UNKNOWN.target(path, "") == path.decode()
    with pytest.raises(UnknownUrl):
        Surface(OPERATIONS).find("POST", path)


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT", "PATCH"])
def test_another_method_is_not(method: str) -> None:
    with pytest.raises(UnknownUrl):
        SURFACE.find(method, b"/new/things")


@pytest.mark.parametrize(
    "path",
    [
        *(b"/organization/new", b"/agents/a/new", b"/vaults/new", b"/fine_tuning/new"),
        *(b"/Chat/completions", b"/chat/completions/", b"//chat/completions", b"/new/"),
        *(b"/v1/chat/completions", b"/openai/v1/responses", b"/models", b"/Models/gpt-5"),
        *(b"/new%2Fthings", b"/new/../files", b"/.new", b"/new;x", b"/a/b/c/d/e/f/g/h/i"),
    ],
)
def test_no_other_spelling_and_nothing_beside_what_is_closed(path: bytes) -> None:
    with pytest.raises((EndpointNotAllowed, UnknownUrl)):
        SURFACE.find("POST", path)


def test_what_is_open_is_found_first() -> None:
    assert SURFACE.find("POST", b"/files").path == "/files"
    with pytest.raises(EndpointNotAllowed):
        SURFACE.find("POST", b"/images/variations")


def test_its_hold_is_the_same_for_every_document() -> None:
    for document in ({}, {"model": "gpt-5", "input": "x" * 10_000}, {"model": 1}):
        assert bound(UNKNOWN, document) == count(UNKNOWN, document)
        assert bound(UNKNOWN, document).input_tokens == 500
    with pytest.raises(UnsupportedParameter):
        _ = bound(UNKNOWN, {"stream": True})


def test_the_ids_of_a_path_are_what_is_no_plain_word() -> None:
    assert ids_of_path(b"/new/thing_1/parts/p/THING/x-y/input_tokens") == (
        "thing_1",
        "THING",
        "x-y",
    )


@pytest.mark.parametrize(
    ("document", "params"),
    [
        (
            {"id": "x", "thing_id": "y", "thing_ids": ["a", "b"]},
            "id thing_id thing_ids[0] thing_ids[1]",
        ),
        (
            {"metadata": {"id": "x"}, "parameters": {"file_id": "y"}},
            "metadata.id parameters.file_id",
        ),
        ({"things": ["file-abcdef123", "file abc"], "a": {"b": "vs_123456"}}, "things[0] a.b"),
        ({"model": "gpt-5", "input": "Which id has file-abcdef?", "call_id": "x", "n_id": 5}, ""),
    ],
)
def test_an_id_is_what_is_called_one_or_looks_like_one(document: Document, params: str) -> None:
    assert [one.param for one in ids_of_request(document)] == params.split()


def test_their_number_is_bounded() -> None:
    assert len(ids_of_request({"ids": [], "x_ids": ["a"] * IDS_MAX})) == IDS_MAX
    with pytest.raises(InvalidRequest, match="more than 100 ids"):
        _ = ids_of_request({"x_ids": ["a"] * (IDS_MAX + 1)})


def test_every_id_of_a_response_is_found_once() -> None:
    document: Document = {"id": "a", "data": [{"id": "b", "thing_id": "c"}, {"id": "a"}, {"id": 5}]}
    assert [(one.kind, one.id) for one in ids_of_response(document)] == [("any", "a"), ("any", "b")]
