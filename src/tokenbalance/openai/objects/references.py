"""Which fields of a request name things that the upstream keeps: one table, and the walk by it.

Everybody behind the shared key could reach such a thing by its id, so a request may only name what
is its caller's own. This file finds the names; whose a thing is, and what becomes of the request,
is never decided here.

A thing is recognised by the type of the object that names it. Below that, members that are called
like an id are ids too, so that a type which nobody knows yet cannot carry one past this table. What
is free in form is never searched: schemas, arguments, metadata, headers. A property that is called
`file_id` there is a word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenbalance.openai.documents import path_of
from tokenbalance.openai.operation import Metering

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document, Json


@dataclass(frozen=True, slots=True)
class Reference:
    """One id in a request."""

    kind: str
    """What it is an id of: `file`, `response`, `container`..."""
    value: Json
    """The id, or a list of them; as it came, so it need not be a text."""
    param: str
    """Where it stands: `input[0].content[1].file_id`."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A member that names a thing."""

    kind: str
    unless: str | None = None
    """The id is a mere copy where this member carries the thing itself."""
    nobodys: re.Pattern[str] | None = None
    """Names that stand here too and that everybody may use."""
    may_be_object: bool = False
    """An object in its place is no id, and is searched."""


_BASE_MODEL: Final = re.compile(r"(?!ft:).*", re.DOTALL)
_BUILT_IN_SKILL: Final = re.compile(r"openai-[a-z0-9-]+")
_BUILT_IN_VOICE: Final = re.compile(r"(?!voice_).*", re.DOTALL)
_MODEL: Final = _Row("model", nobodys=_BASE_MODEL)

# From the request types of OpenAI's SDK 3.57. The place is the type of an object around the member,
# or one of four without one: the two requests themselves, `message` of a chat, and `item` of
# /responses that says neither a type nor a role.
_ROWS: Final[Mapping[tuple[str, str], _Row]] = {
    ("responses", "conversation"): _Row("conversation"),
    ("responses", "moderation.model"): _MODEL,
    ("responses", "previous_response_id"): _Row("response"),
    ("responses", "prompt"): _Row("prompt"),
    ("responses", "prompt_cache_options.comparison_response_id"): _Row("response"),
    ("chat", "audio.voice"): _Row("voice", nobodys=_BUILT_IN_VOICE, may_be_object=True),
    ("chat", "audio.voice.id"): _Row("voice"),
    ("chat", "moderation.model"): _MODEL,
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
    "file_id": _Row("file"),
    "file_ids": _Row("file"),
    "previous_response_id": _Row("response"),
    "skill_id": _Row("skill", nobodys=_BUILT_IN_SKILL),
    "tunnel_id": _Row("tunnel"),
    "vault_id": _Row("vault"),
    "vault_ids": _Row("vault"),
    "vector_store_id": _Row("vector_store"),
    "vector_store_ids": _Row("vector_store"),
}
"""Members that name a thing in objects of every type."""
_UNKNOWN: Final = _Row("unknown")

_OPAQUE: Final = frozenset({
    "arguments", "attributes", "client_metadata", "env", "filters", "format", "headers",
    "input_schema", "metadata", "output_schema", "parameters", "response_format", "schema",
})  # fmt: skip
"""Members whose contents are the client's own words, whatever they are called."""

# Ids by their looks, for members that no row knows. A text of words is not one.
_AN_ID: Final = re.compile(
    r"(?:file|upload|part|batch|resp|conv|chatcmpl|audio|vs|vsfb|cntr|cfile|skill|ftjob|ftckpt|voice"
    r"|cons|rtc|item|msg|rs|ig|cmp|asst|thread|run|pmpt|wf)[-_][A-Za-z0-9_-]{6,}"
)
_COPIES: Final = frozenset({"approval_request_id", "call_id", "caller_id"})
"""Ids of what was said elsewhere in the same request."""

_ID_ENDINGS: Final = ("_id", "_ids")
_NAMES: Final = frozenset(member.rpartition(".")[2] for _, member in _ROWS) | _MEMBERS.keys()
"""What members are called that may name a thing, wherever they stand."""
_REQUESTS: Final[Mapping[Metering, str]] = {
    Metering.CHAT: "chat",
    Metering.FREE: "free",
    Metering.RESPONSES: "responses",
}
"""The places that whole requests are, of the kinds that can name something."""
_SPOKEN: Final = frozenset({"role", "content"})
_PLACES: Final = frozenset(place for place, _ in _ROWS)
_WAYS: Final = frozenset(
    (place, member[: dot.start()]) for place, member in _ROWS for dot in re.finditer(r"\.", member)
)
"""Members on the way to one that names a thing."""

_ELEMENTS: Final[Mapping[tuple[str, str], str]] = {
    ("chat", "messages"): "message",
    ("responses", "input"): "item",
}
"""The places that the objects of a list are in."""

_Where: TypeAlias = "tuple[tuple[str, str], ...]"
"""The places that an object is in, and the members that lead to it from each. A type inside does
not end those around it, since nobody has to heed it."""
_AN_ITEM: Final[_Where] = (("item", ""),)


def references(metering: Metering, document: Document) -> list[Reference]:
    """Find every id in a request of this kind that is not plainly nobody's."""
    found: list[Reference] = []
    model = document.get("model")
    if isinstance(model, str) and _BASE_MODEL.fullmatch(model) is None:
        found.append(Reference("model", model, "model"))
    place = _REQUESTS.get(metering)
    if place is not None:
        _search(document, "", ((place, ""),), found)
    return found


def _search(fields: Mapping[str, Json], at: str, where: _Where, found: list[Reference]) -> None:
    for member, value in fields.items():
        if value and (member in _NAMES or member.endswith(_ID_ENDINGS)):
            row = _row(fields, member, where)
            if row is not None and not (row.may_be_object and isinstance(value, dict)):
                if not _is_nobodys(row, value):
                    found.append(Reference(row.kind, value, path_of(at, member)))
                continue
        if isinstance(value, (dict, list)) and member not in _OPAQUE:
            _search_within(value, path_of(at, member), _further(where, member), found)


def _search_within(
    value: dict[str, Json] | list[Json], at: str, where: _Where, found: list[Reference]
) -> None:
    if isinstance(value, dict):
        _search(value, at, _places_of(value, where), found)
        return
    for index, element in enumerate(value):
        if isinstance(element, dict):
            # Most are this, and hold no place for an id.
            if element.keys() != _SPOKEN or not isinstance(element["content"], str):
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
    if not member.endswith(_ID_ENDINGS) or member in _COPIES:
        return False
    values = value if isinstance(value, list) else [value]
    return any(isinstance(each, str) and _AN_ID.fullmatch(each) for each in values)


def _is_nobodys(row: _Row, value: Json) -> bool:
    if isinstance(value, (int, float)):
        return True
    names = value if isinstance(value, list) else [value]
    return row.nobodys is not None and all(
        isinstance(name, str) and row.nobodys.fullmatch(name) is not None for name in names
    )


def _further(where: _Where, member: str) -> _Where:
    """Where the contents of a member are."""
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
    is_typed = isinstance(kind, str)
    if where == _AN_ITEM and (is_typed or "role" in value):
        where = ()
    return (*where, (kind, "")) if is_typed and kind in _PLACES else where
