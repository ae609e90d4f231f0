"""What stored objects add to a request: earlier turns, items and files that it names by an id.

Counts them as tokens of the input, as OpenAI does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.sandbox import counting
from tokenbalance.sandbox.faults import ApiError, no_such_object
from tokenbalance.sandbox.fields import Fields
from tokenbalance.sandbox.files import example_file
from tokenbalance.sandbox.memory import is_example

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Document, Json
    from tokenbalance.sandbox.calls import Call
    from tokenbalance.sandbox.memory import Kept, Memory

BINARY_BYTES_A_TOKEN: Final = 8
"""Of a file that is no text, such as a PDF."""
_ITEMS: Final = frozenset({"item", "output_item"})
_PARTS_OF_FILES: Final = frozenset({"input_file", "input_image", "file"})


@dataclass(frozen=True, slots=True)
class Context:
    """What a request is about beside what it says."""

    tokens: int = 0
    files: tuple[str, ...] = ()
    """The names of files that are part of the input."""
    continues: bool = False
    """Whether there are earlier turns, so that it may say nothing itself."""


NO_CONTEXT: Final = Context()


def context_of(call: Call) -> Context:
    """Find what a response's request names.

    Raises:
        ApiError: something of it does not exist.
    """
    fields, memory = call.fields, call.memory
    _refuse_two_contexts(fields)
    model = fields.text("model") or ""
    previous, conversation = _previous(fields, memory), conversation_name(fields)
    tokens = previous + _conversation_tokens(memory, conversation, model)
    files = [_file(memory, name) for name in _file_ids(fields.value("input"))]
    tokens += sum(_file_tokens(one, model) for one in files)
    tokens += sum(_item_tokens(memory, name, model) for name in _item_ids(fields.value("input")))
    continues = conversation is not None or fields.value("previous_response_id") is not None
    names = tuple(str(one.document["filename"]) for one in files if one is not None)
    return Context(tokens, names, continues)


def files_context(call: Call) -> Context:
    """Find the files that a chat's messages name, likewise."""
    model = call.fields.text("model") or ""
    files = [_file(call.memory, name) for name in _file_ids(call.fields.value("messages"))]
    names = tuple(str(one.document["filename"]) for one in files if one is not None)
    return Context(sum(_file_tokens(one, model) for one in files), names)


def conversation_name(fields: Fields) -> str | None:
    """Return the id of a request's conversation: as a string, or in an object."""
    value = fields.value("conversation")
    if isinstance(value, dict):
        return fields.within("conversation").required_text("id")
    return fields.text("conversation")


def conversation_of(fields: Fields) -> Document:
    """Return how a response says which conversation it belongs to; nothing if to none."""
    name = conversation_name(fields)
    return {} if name is None else {"conversation": {"id": name}}


def _refuse_two_contexts(fields: Fields) -> None:
    """Refuse two sources of earlier turns, but for examples: the SDKs' tests name both."""
    names = (fields.text("previous_response_id"), conversation_name(fields))
    if None not in names and not all(is_example(name or "") for name in names):
        raise ApiError(
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Ensure you "
            "are only providing one of: 'previous_response_id' or 'conversation'.",
            param="previous_response_id",
            code="mutually_exclusive_parameters",
        )


def _previous(fields: Fields, memory: Memory) -> int:
    """Return the tokens of the earlier turns: all that the previous response read and wrote."""
    name = fields.text("previous_response_id")
    if name is None:
        return 0
    kept = memory.find("response", name)
    if kept is None and not is_example(name):
        message = f"Previous response with id '{name}' not found."
        raise ApiError(message, param="previous_response_id", code="previous_response_not_found")
    usage = None if kept is None else kept.document.get("usage")
    total = usage.get("total_tokens") if isinstance(usage, dict) else 0
    return total if isinstance(total, int) else 0


def _conversation_tokens(memory: Memory, name: str | None, model: str) -> int:
    if name is None:
        return 0
    if memory.find("conversation", name) is None and not is_example(name):
        raise no_such_object("conversation", name)
    items: list[Json] = [one.document for one in memory.every("item", name)]
    return counting.response_tokens(Fields({"model": model, "input": items})) if items else 0


def _file_ids(value: Json) -> Iterator[str]:
    """Yield the ids of the files in items, messages and their parts."""
    if isinstance(value, list):
        for element in value:
            yield from _file_ids(element)
    elif isinstance(value, dict):
        if value.get("type") in _PARTS_OF_FILES:
            inner = value.get("file")
            name = inner.get("file_id") if isinstance(inner, dict) else value.get("file_id")
            if isinstance(name, str):
                yield name
        else:
            yield from _file_ids(value.get("content"))


def _file(memory: Memory, name: str) -> Kept | None:
    kept = memory.found_or_example("file", name, example_file)
    if kept is None:
        raise no_such_object("file", name)
    return kept


def _file_tokens(kept: Kept | None, model: str) -> int:
    if kept is None:
        return 0
    try:
        return counting.count_text(kept.data.decode(), model)
    except UnicodeDecodeError:
        return len(kept.data) // BINARY_BYTES_A_TOKEN


def _item_ids(value: Json) -> Iterator[str]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict) and item.get("type") == "item_reference":
            name = item.get("id")
            if isinstance(name, str):
                yield name


def _item_tokens(memory: Memory, name: str, model: str) -> int:
    kept = memory.part(_ITEMS, name)
    if kept is None and not is_example(name):
        raise no_such_object("item", name)
    items: list[Json] = [] if kept is None else [kept.document]
    return counting.response_tokens(Fields({"model": model, "input": items}))
