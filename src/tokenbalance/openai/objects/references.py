"""Which fields of a request refer to objects that the upstream stores: one table, and its walk.

All callers behind the shared key could reach such an object by its id, so a request may only refer
to objects of its own caller. This file finds the ids; who owns an object, and what happens to the
request, is never decided here.

An id is recognised by the type of the object around it. In addition, members whose names end like
an id's are ids, so that a type which is not known yet cannot carry one past this table. Free-form
values are never searched: schemas, arguments, metadata, headers. A property called `file_id` there
is a word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenbalance.openai.documents import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tokenbalance.model import Document, Json


@dataclass(frozen=True, slots=True)
class Reference:
    """One id in a request."""

    kind: str
    """What it is an id of: `file`, `response`, `container`..."""
    value: Json
    """The id, or a list of ids; unchecked, so it may be of any type."""
    param: str
    """Its path in the document: `input[0].content[1].file_id`."""
    within: str | None = None
    """The type of the object around it, if it has one: `input_image`."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A member that holds an id."""

    kind: str
    unless: str | None = None
    """The member that carries the object itself: where it is set, the id is only a copy."""
    public: re.Pattern[str] | None = None
    """Values that are not ids of stored objects, and that every caller may use."""
    may_be_object: bool = False
    """A JSON object in its place is not an id; its members are searched."""
    holds_objects: bool = False
    """What belongs in its place are JSON objects with ids, one or a list. A text there is an id if
    it looks like one: the upstream might take it for one."""


_BASE_MODEL: Final = re.compile(r"(?!ft:).*", re.DOTALL)
_BUILT_IN_SKILL: Final = re.compile(r"openai-[a-z0-9-]+")
_BUILT_IN_VOICE: Final = re.compile(r"(?!voice_).*", re.DOTALL)
_MODEL: Final = _Row("model", public=_BASE_MODEL, may_be_object=True)
_VOICE: Final = _Row("voice", public=_BUILT_IN_VOICE, may_be_object=True)

# From the request types of OpenAI's SDK 3.57. The place is the type of an object around the member,
# or one without a type: a request itself, `message` of a chat, and an `item` of /responses or a
# conversation that has neither a type nor a role.
_ROWS: Final[Mapping[tuple[str, str], _Row]] = {
    ("responses", "conversation"): _Row("conversation"),
    ("responses", "moderation.model"): _MODEL,
    ("responses", "previous_response_id"): _Row("response"),
    ("responses", "prompt"): _Row("prompt"),
    ("responses", "prompt_cache_options.comparison_response_id"): _Row("response"),
    ("chat", "audio.voice"): _VOICE,
    ("chat", "audio.voice.id"): _Row("voice"),
    ("chat", "moderation.model"): _MODEL,
    ("speech", "voice"): _VOICE,
    ("speech", "voice.id"): _Row("voice"),
    ("images", "svg.model"): _MODEL,
    ("grader", "grader.model"): _MODEL,
    ("grader", "grader.graders.model"): _MODEL,
    ("message", "audio.id"): _Row("chat_audio"),
    ("item", "id"): _Row("item"),
    ("item_reference", "id"): _Row("item"),
    ("reasoning", "id"): _Row("reasoning", unless="encrypted_content"),
    ("compaction", "id"): _Row("reasoning", unless="encrypted_content"),
    ("image_generation_call", "id"): _Row("image", unless="result"),
    ("image_generation_call", "svg_usage.model"): _MODEL,
    ("container_file_citation", "file_id"): _Row("container_file"),
    ("code_interpreter", "container"): _Row("container", may_be_object=True),
    ("code_interpreter", "container.id"): _Row("container"),
    ("image_generation", "model"): _MODEL,
    ("image_generation", "svg.model"): _MODEL,
    ("form", "consent"): _Row("voice_consent"),
    ("label_model", "model"): _MODEL,
    ("score_model", "model"): _MODEL,
}
_MEMBERS: Final[Mapping[str, _Row]] = {
    "agent_id": _Row("agent"),
    "assistant_id": _Row("assistant"),
    "comparison_response_id": _Row("response"),
    "connector_id": _Row("connector"),
    "container_id": _Row("container"),
    "conversation_id": _Row("conversation"),
    "credential_id": _Row("credential"),
    "environment_id": _Row("environment"),
    "file": _Row("file", holds_objects=True),
    "file_id": _Row("file"),
    "file_ids": _Row("file"),
    "files": _Row("file", holds_objects=True),
    "images": _Row("file", holds_objects=True),
    "mask": _Row("file", holds_objects=True),
    "model": _MODEL,
    "part_ids": _Row("upload_part"),
    "previous_response_id": _Row("response"),
    "skill_id": _Row("skill", public=_BUILT_IN_SKILL),
    "skills": _Row("skill", holds_objects=True),
    "tunnel_id": _Row("tunnel"),
    "vault_id": _Row("vault"),
    "vault_ids": _Row("vault"),
    "vector_store_id": _Row("vector_store"),
    "vector_store_ids": _Row("vector_store"),
    "voice": _VOICE,
}
"""Members that hold ids in objects of every type."""
_UNKNOWN: Final = _Row("unknown")

_OPAQUE: Final = frozenset({
    "arguments", "attributes", "client_metadata", "env", "filters", "format", "headers",
    "input_schema", "metadata", "output_schema", "parameters", "response_format", "schema",
})  # fmt: skip
"""Members with free-form contents: nothing in them is an id, whatever it is called."""

# What an id looks like, for members without a row. A text with spaces is not one.
AN_ID: Final = re.compile(
    r"(?:file|upload|part|batch|resp|conv|chatcmpl|audio|vs|vsfb|cntr|cfile|skill|ftjob|ftckpt|voice"
    r"|cons|rtc|item|msg|rs|ig|cmp|asst|thread|run|pmpt|wf)[-_][A-Za-z0-9_-]{6,}"
)
COPIES: Final = frozenset({"approval_request_id", "call_id", "caller_id"})
"""Ids that refer to another part of the same request."""

ID_ENDINGS: Final = ("_id", "_ids")
_NAMES: Final = frozenset(member.rpartition(".")[2] for _, member in _ROWS) | _MEMBERS.keys()
"""Names of members that may hold an id somewhere."""
_PLAIN_MESSAGE: Final = frozenset({"role", "content"})
_PLACES: Final = frozenset(place for place, _ in _ROWS)
_WITH_ROWS: Final = frozenset(
    {"compaction", "image_generation_call", "item_reference", "reasoning"}
)
"""Types of items whose ids have rows of their own."""
_ROLES: Final = frozenset({
    "assistant", "critic", "developer", "discriminator", "system", "tool", "user",
})  # fmt: skip
_CONTENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "additional_tools": ("tools",),
    "agent_message": ("content",),
    "apply_patch_call": ("operation",),
    "apply_patch_call_output": ("status",),
    "code_interpreter_call": ("container_id",),
    "computer_call": ("action", "actions"),
    "computer_call_output": ("output",),
    "configuration_update": ("reasoning", "text"),
    "custom_tool_call": ("input",),
    "custom_tool_call_output": ("output",),
    "file_search_call": ("queries",),
    "function_call": ("arguments",),
    "function_call_output": ("output",),
    "local_shell_call": ("action",),
    "local_shell_call_output": ("output",),
    "mcp_approval_request": ("arguments",),
    "mcp_approval_response": ("approve",),
    "mcp_call": ("arguments",),
    "mcp_list_tools": ("tools",),
    "message": ("content",),
    "multi_agent_call": ("arguments",),
    "multi_agent_call_output": ("output",),
    "program": ("code",),
    "program_output": ("result",),
    "shell_call": ("action",),
    "shell_call_output": ("output",),
    "tool_search_call": ("arguments",),
    "tool_search_output": ("tools",),
    "web_search_call": ("action",),
}
"""Types of items that carry what they are, each with the members that have it."""
_WAYS: Final = frozenset(
    (place, member[: dot.start()]) for place, member in _ROWS for dot in re.finditer(r"\.", member)
)
"""Members on the way to one that holds an id."""

_ELEMENTS: Final[Mapping[tuple[str, str], str]] = {
    ("chat", "messages"): "message",
    ("responses", "input"): "item",
    ("conversation", "items"): "item",
}
"""The place of each object in these lists."""

_TEXTS: Final = frozenset({"input", "prompt"})
"""Members of requests without a place that may be millions of texts or tokens, and nothing else."""

_Where: TypeAlias = "tuple[tuple[str, str], ...]"
"""The places that an object is in, and the members that lead to it from each. A nested type does
not end the places around it, because the upstream may ignore it."""
_AN_ITEM: Final[_Where] = (("item", ""),)


def references(place: str | None, document: Document) -> list[Reference]:
    """Find every id in a document that may be one of a stored object.

    Args:
        place: of the whole document, as in the table; None: its texts are not searched.
        document: the request's.

    """
    found: list[Reference] = []
    if place is None:
        document = {
            member: value
            for member, value in document.items()
            if not isinstance(value, list) or member not in _TEXTS
        }
    _search(document, "", () if place is None else ((place, ""),), found)
    return found


def _search(fields: Mapping[str, Json], at: str, where: _Where, found: list[Reference]) -> None:
    for member, value in fields.items():
        if value and (member in _NAMES or member.endswith(ID_ENDINGS)):
            row = _row(fields, member, where)
            if row is not None and row.holds_objects:
                found += _bare_ids(row, value, path_of(at, member))
            elif row is not None and not (row.may_be_object and isinstance(value, dict)):
                if not _is_public(row, value):
                    kind = fields.get("type")
                    within = kind if isinstance(kind, str) else None
                    found.append(Reference(row.kind, value, path_of(at, member), within))
                continue
        if isinstance(value, (dict, list)) and member not in _OPAQUE:
            _search_within(value, path_of(at, member), _further(where, member), found)


def _bare_ids(row: _Row, value: Json, at: str) -> Iterator[Reference]:
    """Yield ids that are where objects with ids belong."""
    if isinstance(value, list):
        for index, each in enumerate(value):
            if isinstance(each, str):
                yield from _bare_ids(row, each, f"{at}[{index}]")
    elif isinstance(value, str) and AN_ID.fullmatch(value):
        yield Reference(row.kind, value, at)


def _search_within(
    value: dict[str, Json] | list[Json], at: str, where: _Where, found: list[Reference]
) -> None:
    if isinstance(value, dict):
        _search(value, at, _places_of(value, where), found)
        return
    for index, element in enumerate(value):
        if isinstance(element, dict):
            # The usual message, which cannot hold an id.
            if element.keys() != _PLAIN_MESSAGE or not isinstance(element["content"], str):
                _search(element, f"{at}[{index}]", _places_of(element, where), found)
        elif isinstance(element, list):
            _search_within(element, f"{at}[{index}]", where, found)


def _row(fields: Mapping[str, Json], member: str, where: _Where) -> _Row | None:
    for place, path in where:
        row = _ROWS.get((place, f"{path}.{member}" if path else member))
        if row is not None and not (row.unless is not None and fields.get(row.unless)):
            return row
    row = _MEMBERS.get(member)
    return _UNKNOWN if row is None and _looks_like_an_id(member, fields[member]) else row


def _looks_like_an_id(member: str, value: Json) -> bool:
    if not member.endswith(ID_ENDINGS) or member in COPIES:
        return False
    values = value if isinstance(value, list) else [value]
    return any(isinstance(each, str) and AN_ID.fullmatch(each) for each in values)


def _is_public(row: _Row, value: Json) -> bool:
    if isinstance(value, (int, float)):
        return True
    if row.public is None:
        return False
    is_public = row.public.fullmatch
    if isinstance(value, str):
        return is_public(value) is not None
    names = value if isinstance(value, list) else [value]
    return all(isinstance(name, str) and is_public(name) is not None for name in names)


def _further(where: _Where, member: str) -> _Where:
    """The places of a member's contents."""
    found: list[tuple[str, str]] = []
    for place, path in where:
        way = (place, f"{path}.{member}" if path else member)
        if way in _ELEMENTS:
            found.append((_ELEMENTS[way], ""))
        elif way in _WAYS:
            found.append(way)
    return tuple(found)


def _places_of(value: Mapping[str, Json], where: _Where) -> _Where:
    kind = value.get("type")
    if where == _AN_ITEM and _is_copy(kind, value):
        where = ()
    return (*where, (kind, "")) if isinstance(kind, str) and kind in _PLACES else where


def _is_copy(kind: Json, item: Mapping[str, Json]) -> bool:
    """Whether the id of an item is only a copy, since its contents are with it, or has a row.

    What the upstream may read as a reference is one: an item without contents, and one of a type or
    a role that is not known exactly as it is written.
    """
    if kind is None:
        role = item.get("role")
        return isinstance(role, str) and role in _ROLES and item.get("content") is not None
    if not isinstance(kind, str):
        return False
    members = _CONTENTS.get(kind, ())
    return kind in _WITH_ROWS or any(item.get(member) is not None for member in members)
