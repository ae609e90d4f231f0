"""Ids of what the upstream keeps: found wherever the type of a thing says that one stands there."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tokenbalance.openai import OPERATIONS
from tokenbalance.openai.objects.references import references

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json
    from tokenbalance.openai.operation import Operation

FIELDS = Path(__file__).resolve().parents[3] / "shared" / "data" / "openai-operations-fields.csv"
IDS = {"model": "ft:gpt-4o:acme::abc123", "voice": "voice_1234"}
"""Where an id of the kind must look like one; others may have any looks."""


def found(place: str | None, document: Document) -> list[tuple[str, str]]:
    return [(reference.kind, reference.param) for reference in references(place, document)]


def in_responses(**fields: Json) -> list[tuple[str, str]]:
    return found("responses", {"model": "gpt-5", **fields})


def in_item(**item: Json) -> list[tuple[str, str]]:
    return in_responses(input=[{"role": "user", "content": "hi"}, item])


def in_tool(**tool: Json) -> list[tuple[str, str]]:
    return in_responses(tools=[tool])


# What is found.


@pytest.mark.parametrize(
    ("tool", "kind", "param"),
    [
        ({"type": "mcp", "tunnel_id": "t"}, "tunnel", "tunnel_id"),
        ({"type": "mcp", "connector_id": "connector_gmail"}, "connector", "connector_id"),
        ({"type": "mcp", "credential_id": "c"}, "credential", "credential_id"),
        ({"type": "mcp", "vault_ids": ["v"]}, "vault", "vault_ids"),
        ({"type": "code_interpreter", "container": "c"}, "container", "container"),
        (
            {"type": "code_interpreter", "container": {"type": "auto", "id": "c"}},
            "container",
            "container.id",
        ),
        (
            {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["f"]}},
            "file",
            "container.file_ids",
        ),
        (
            {"type": "shell", "environment": {"type": "container_reference", "container_id": "c"}},
            "container",
            "environment.container_id",
        ),
        (
            {
                "type": "shell",
                "environment": {"type": "container_auto", "skills": [{"skill_id": "s"}]},
            },
            "skill",
            "environment.skills[0].skill_id",
        ),
        ({"type": "image_generation", "model": "ft:x"}, "model", "model"),
        ({"type": "image_generation", "svg": {"model": "ft:x"}}, "model", "svg.model"),
        (
            {"type": "of a later year", "vector_store_ids": ["v"]},
            "vector_store",
            "vector_store_ids",
        ),
        (
            {"type": "of a later year", "in": {"thing_id": "file-abcdefgh"}},
            "unknown",
            "in.thing_id",
        ),
    ],
)
def test_a_tool_that_names_what_is_kept_is_found_wherever_tools_stand(
    tool: dict[str, Json], kind: str, param: str
) -> None:
    assert in_tool(**tool) == [(kind, f"tools[0].{param}")]
    tools: list[Json] = [tool]
    assert in_item(type="additional_tools", tools=tools) == [(kind, f"input[1].tools[0].{param}")]
    assert in_tool(type="namespace", tools=tools) == [(kind, f"tools[0].tools[0].{param}")]


@pytest.mark.parametrize(
    ("item", "kind", "param"),
    [
        ({"type": "item_reference", "id": "msg_1"}, "item", "id"),
        ({"id": "msg_1"}, "item", "id"),
        ({"type": None, "id": "msg_1"}, "item", "id"),
        ({"role": None, "id": "msg_1"}, "item", "id"),
        ({"role": "", "id": "msg_1", "content": "hi"}, "item", "id"),
        ({"role": [], "id": "msg_1", "content": "hi"}, "item", "id"),
        ({"role": "user", "id": "msg_1"}, "item", "id"),
        ({"type": "", "role": "user", "id": "msg_1", "content": "hi"}, "item", "id"),
        ({"type": [], "id": "msg_1", "content": "hi"}, "item", "id"),
        ({"type": "ITEM_REFERENCE", "id": "msg_1"}, "item", "id"),
        ({"type": "item_reference ", "id": "msg_1"}, "item", "id"),
        ({"type": "of a later year", "id": "msg_1", "content": "hi"}, "item", "id"),
        ({"type": "code_interpreter", "id": "msg_1"}, "item", "id"),
        ({"type": "message", "role": "user", "id": "msg_1"}, "item", "id"),
        ({"type": "file_search_call", "id": "fs_1"}, "item", "id"),
        ({"type": "mcp_call", "id": "mcp_1", "arguments": None}, "item", "id"),
        ({"type": "reasoning", "id": "rs_1", "summary": []}, "reasoning", "id"),
        ({"type": "reasoning", "id": "rs_1", "encrypted_content": ""}, "reasoning", "id"),
        ({"type": "compaction", "id": "cmp_1"}, "reasoning", "id"),
        ({"type": "image_generation_call", "id": "ig_1", "result": None}, "image", "id"),
        ({"type": "code_interpreter_call", "container_id": "c"}, "container", "container_id"),
        (
            {"type": "shell_call", "environment": {"container_id": "c"}},
            "container",
            "environment.container_id",
        ),
        ({"type": "computer_call_output", "output": {"file_id": "f"}}, "file", "output.file_id"),
        ({"type": "file_search_call", "results": [{"file_id": "f"}]}, "file", "results[0].file_id"),
        (
            {
                "role": "assistant",
                "content": [{"type": "output_text", "annotations": [{"file_id": "f"}]}],
            },
            "file",
            "content[0].annotations[0].file_id",
        ),
    ],
)
def test_an_item_that_names_what_is_kept_is_found(
    item: dict[str, Json], kind: str, param: str
) -> None:
    assert in_item(**item) == [(kind, f"input[1].{param}")]


@pytest.mark.parametrize(
    ("fields", "kind", "param"),
    [
        ({"previous_response_id": "resp_1"}, "response", "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation", "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation", "conversation"),
        ({"conversation": {"type": "x", "id": "conv_1"}}, "conversation", "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "prompt"),
        (
            {"prompt_cache_options": {"comparison_response_id": "resp_1"}},
            "response",
            "prompt_cache_options.comparison_response_id",
        ),
        ({"moderation": {"type": "x", "model": "ft:x"}}, "model", "moderation.model"),
        ({"of_a_later_year": {"file_id": "f"}}, "file", "of_a_later_year.file_id"),
    ],
)
def test_a_field_of_a_response_that_names_what_is_kept_is_found(
    fields: dict[str, Json], kind: str, param: str
) -> None:
    assert in_responses(**fields) == [(kind, param)]


@pytest.mark.parametrize(
    ("fields", "kind", "param"),
    [
        ({"audio": {"voice": {"id": "anything"}}}, "voice", "audio.voice.id"),
        ({"audio": {"voice": "voice_1234"}}, "voice", "audio.voice"),
        ({"audio": {"type": "x", "voice": {"id": "v"}}}, "voice", "audio.voice.id"),
        (
            {"messages": [{"role": "assistant", "audio": {"id": "a"}}]},
            "chat_audio",
            "messages[0].audio.id",
        ),
        (
            {"messages": [{"type": "x", "audio": {"type": "y", "id": "a"}}]},
            "chat_audio",
            "messages[0].audio.id",
        ),
        (
            {"messages": [{"content": [{"type": "file", "file": {"file_id": "f"}}]}]},
            "file",
            "messages[0].content[0].file.file_id",
        ),
    ],
)  # fmt: skip
def test_a_field_of_a_chat_that_names_what_is_kept_is_found(
    fields: dict[str, Json], kind: str, param: str
) -> None:
    assert found("chat", {"model": "gpt-audio", **fields}) == [(kind, param)]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
def test_a_fine_tune_is_found_in_requests_to_every_operation(operation: Operation) -> None:
    assert found(operation.family.place, {"model": "ft:gpt-4o:acme::1"}) == [("model", "model")]


def test_a_file_in_a_moderation_is_found() -> None:
    picture: Json = {"type": "image_url", "image_url": {"file_id": "f"}}
    inputs: list[Json] = [picture]
    found_ids = found("free", {"input": inputs})
    assert found_ids == [("file", "input[0].image_url.file_id")]


@pytest.mark.parametrize("member", ["file_id", "thing_ids", "previous_response_id"])
def test_an_id_is_found_where_no_ids_are_known(member: str) -> None:
    value: Json = ["file-abcdefgh"] if member.endswith("s") else "file-abcdefgh"
    fields: Document = {"model": "gpt-5", "input": [[1, 2], "x"], "user_id": "me", member: value}
    assert [param for _, param in found(None, fields)] == [member]


def test_an_id_is_found_in_a_list_where_no_ids_are_known() -> None:
    fields: Document = {"model": "gpt-5", "input": ["x"], "more": [{"file_id": "f"}]}
    assert found(None, fields) == [("file", "more[0].file_id")]


@pytest.mark.parametrize(
    ("place", "fields", "kind", "param"),
    [
        ("free", {"file_ids": "f"}, "file", "file_ids"),
        ("free", {"part_ids": "p"}, "upload_part", "part_ids"),
        ("free", {"files": "file-abc123"}, "file", "files"),
        ("free", {"files": ["file-abc123"]}, "file", "files[0]"),
        ("free", {"skills": ["skill_abc123"]}, "skill", "skills[0]"),
        ("images", {"images": [{"image_url": "x"}, "file-abc123"]}, "file", "images[1]"),
        ("images", {"mask": "file-abc123"}, "file", "mask"),
        ("responses", {"tools": [{"vector_store_ids": "v"}]}, "vector_store",
         "tools[0].vector_store_ids"),
        ("chat", {"messages": [{"content": [{"type": "file", "file": "file-abc123"}]}]}, "file",
         "messages[0].content[0].file"),
    ],
)  # fmt: skip
def test_an_id_is_found_where_a_list_or_an_object_belongs(
    place: str, fields: dict[str, Json], kind: str, param: str
) -> None:
    assert found(place, fields) == [(kind, param)]


def test_objects_beside_an_id_are_searched_as_well() -> None:
    files: list[Json] = ["file-abc123", {"file_id": "f"}, "data:,file-abc123", 1]
    assert found("free", {"files": files}) == [("file", "files[0]"), ("file", "files[1].file_id")]


# What is not.


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "parameters": {"properties": {"file_id": {"type": "string"}}}},
        {"type": "function", "parameters": {"file_id": "file-abcdefgh"}},
        {"type": "function", "output_schema": {"container_id": {"type": "reasoning", "id": "x"}}},
        {"type": "custom", "format": {"definition": "x", "file_id": "f"}},
        {"type": "mcp", "headers": {"tunnel_id": "t"}, "server_url": "https://x.example"},
        {"type": "code_interpreter", "container": {"type": "auto", "file_ids": None}},
        {"type": "shell", "environment": {"skills": [{"skill_id": "openai-spreadsheets"}]}},
        {"type": "image_generation", "model": "gpt-image-2"},
    ],
)
def test_words_and_what_everybody_may_use_are_no_references(tool: dict[str, Json]) -> None:
    inside: list[Json] = [tool]
    assert in_tool(**tool) == []
    assert in_tool(type="namespace", tools=inside) == []


@pytest.mark.parametrize(
    "item",
    [
        {"role": "assistant", "type": "message", "id": "msg_1", "content": []},
        {"role": "user", "id": "msg_1", "content": "hi"},
        {"type": "message", "role": "user", "id": "msg_1", "content": ""},
        {"type": "web_search_call", "id": "ws_1", "action": {"type": "search"}},
        {"type": "mcp_list_tools", "id": "mcpl_1", "tools": []},
        {"type": "function_call", "id": "fc_12345678", "call_id": "call_1", "arguments": "{}"},
        {"type": "reasoning", "id": "rs_12345678", "encrypted_content": "gAAA", "summary": []},
        {"type": "reasoning", "summary": []},
        {"type": "image_generation_call", "id": "ig_1", "result": "AAAA"},
        {"type": "tool_search_call", "arguments": {"file_id": "f"}},
        {"type": "local_shell_call", "action": {"env": {"container_id": "c"}}},
        {
            "type": "function_call_output",
            "caller": {"type": "program", "caller_id": "call_12345678"},
        },
    ],
)
def test_copies_and_the_clients_own_words_are_no_references(item: dict[str, Json]) -> None:
    assert in_item(**item) == []


def test_metadata_is_never_searched() -> None:
    words: Json = {"file_id": "file-abcdefgh", "x_id": "resp_12345678"}
    assert in_responses(metadata=words, client_metadata=words) == []
    assert found("chat", {"metadata": words, "audio": {"voice": "alloy"}}) == []


# Every field that is known to name an object.

_OPEN = {one.path: one.family.place for one in OPERATIONS if one.bodies}


def _rows() -> list[tuple[str, str, str]]:
    if not FIELDS.is_file():
        return []
    with FIELDS.open() as lines:
        return sorted(
            {
                (row["path"].removesuffix("?beta=true"), row["field"], row["kind"])
                for row in csv.DictReader(lines)
                if row["method"] == "POST"
                and row["where"] == "body"
                and row["path"].removesuffix("?beta=true") in _OPEN
            }
        )


_TYPES = {
    ("input", "tools[].container"): "code_interpreter",
    ("", "tools[].container"): "code_interpreter",
}


def _filled(field: str, kind: str) -> Document:
    """A request with this field in an object of the type that has it."""
    value: Json = IDS.get(kind, "x")
    if field.endswith("_ids"):
        value = [value]
    for member in reversed(re.findall(r"[\w*]+|\[\]", field)):
        value = [value] if member == "[]" else _typed(field, {member: value})
    assert isinstance(value, dict)
    return value


def _typed(field: str, fields: Document) -> Document:
    if "container" in fields and "tools[]" in field:
        return {"type": "code_interpreter", **fields}
    if "tools[].model" in field or "svg" in fields:
        return (
            {"type": "image_generation", **fields} if fields.keys() & {"model", "svg"} else fields
        )
    if "svg_usage" in fields:
        return {"type": "image_generation_call", "result": "AAAA", **fields}
    if field.endswith("voice.id") and "id" in fields:
        return {"id": "x"}
    return fields


@pytest.mark.skipif(not FIELDS.is_file(), reason="the list of OpenAI's operations is not at hand")
def test_every_field_that_names_an_object_is_found() -> None:
    assert len(_rows()) > 60
    missed = [
        (path, field)
        for path, field, kind in _rows()
        if not found(_OPEN[path], {"model": "gpt-5", **_filled(field, kind)})
    ]
    assert missed == []
