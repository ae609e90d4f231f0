"""What a request reads that the upstream stores: which references cost tokens, and how many.

Earlier turns, conversations, items by their id, and files are read by the model although the
request does not show them. Pure: what is known of the objects is given, and the upstream is asked
elsewhere; this file says with what, and what to make of the answer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tokenbalance.model import Stored
from tokenbalance.openai.ceilings.hosted_tools import allowance_for, every_tool
from tokenbalance.openai.ceilings.items import tools_of
from tokenbalance.openai.ceilings.media import unsupported
from tokenbalance.openai.documents import path_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenbalance.model import Document, Json
    from tokenbalance.model.objects import Owned
    from tokenbalance.openai.objects.references import Reference
    from tokenbalance.openai.operation import Operation

UNKNOWN: Final = Stored()
"""As much as the model can read."""

_READ: Final = frozenset({"chat_audio", "conversation", "file", "item", "response"})
"""Kinds of objects that a model may read as a part of its prompt."""
_PREVIOUS: Final = "previous_response_id"
# Whatever their size, images have a rule of their own, and an annotation is only a copy.
_BOUNDED: Final = frozenset({
    "computer_screenshot", "container_file_citation", "file_citation", "file_path", "image",
    "image_url", "input_image",
})  # fmt: skip
"""Types of what holds a reference, and is bounded by what is shown of it."""
_OF_TOOLS: Final = ("tools[", ".tools[", ".results[")
"""In paths of what a tool may read, and of results that are shown: tools have allowances."""

_ASKED: Final = (
    "conversation", "input", "instructions", "model", "parallel_tool_calls", "personality",
    "previous_response_id", "reasoning", "text", "tool_choice", "tools", "truncation",
)  # fmt: skip
"""Fields that `/responses/input_tokens` takes."""
_DAY: Final = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_AGAIN: Final = 32
"""What an output has around it when it is read again: this many tokens, and one for as many. Nearly
all of it is already in the usage, by recorded exchanges."""
_UNFINISHED: Final = frozenset({"in_progress", "queued"})


def reads_of(references: Sequence[Reference]) -> list[Reference]:
    """Find the references to what the model reads, so that it costs tokens which are not shown."""
    return [each for each in references if _is_read(each)]


def _is_read(reference: Reference) -> bool:
    if reference.kind not in _READ or reference.within in _BOUNDED:
        return False
    param = reference.param
    if reference.kind == "response":
        # Another one is only compared with.
        return param == _PREVIOUS
    return not (param.startswith(_OF_TOOLS[0]) or any(at in param for at in _OF_TOOLS[1:]))


def known_tokens(
    reads: Sequence[Reference], known: Sequence[Owned], model: str | None
) -> Stored | None:
    """What is stored, where the objects themselves say it: an earlier response alone does.

    What it has used in all is the most that a later one of the same model reads of it. Another
    model may need many times as many tokens for the same images, or for the same text.

    Args:
        reads: the references to what the model reads.
        known: the caller's objects among those that the request names.
        model: the name of the model.

    """
    if len(reads) != 1 or reads[0].kind != "response":
        return None
    wanted = reads[0].value
    found = next((one for one in known if (one.kind, one.id) == ("response", wanted)), None)
    if found is None or found.tokens is None or found.state in _UNFINISHED:
        return None
    if found.model is None or model is None or _undated(found.model) != _undated(model):
        return None
    return Stored(found.tokens + _AGAIN + found.tokens // _AGAIN)


def _undated(model: str) -> str:
    """The name of a model without the day of its version: responses have it, requests seldom do."""
    return _DAY.sub("", model)


def question_about(operation: Operation, document: Document) -> Document | None:
    """What to ask `/responses/input_tokens` for the length of the whole input of a request.

    Returns:
        None where it cannot say that: the operation has another input, or the request names a URL
        of a file, of which the upstream may be given another one every time that it looks.

    """
    ceiling = operation.ceiling
    if ceiling is None or ceiling.uncounted is None or _has_file_url(document.get("input")):
        return None
    return {name: document[name] for name in _ASKED if document.get(name) is not None}


def answered(operation: Operation, document: Document, tokens: Json) -> Stored | None:
    """What is stored, by the answer of `/responses/input_tokens`; None if it is no number."""
    ceiling = operation.ceiling
    if ceiling is None or ceiling.uncounted is None or type(tokens) is not int or tokens < 0:
        return None
    return Stored(tokens + ceiling.uncounted(document), of_all=True)


def is_continued(document: Mapping[str, Json]) -> bool:
    """Whether a request continues an earlier response or a conversation."""
    return bool(document.get(_PREVIOUS) or document.get("conversation"))


def has_stored_turns(document: Mapping[str, Json]) -> bool:
    """Whether the model reads turns that a request does not show, and so perhaps more images."""
    items = document.get("input")
    return is_continued(document) or (isinstance(items, list) and any(map(_is_reference, items)))


def _is_reference(item: Json) -> bool:
    if not isinstance(item, dict):
        return False
    kind = item.get("type")
    return kind == "item_reference" or (kind is None and "role" not in item)


def refuse_lasting_tools(operation: Operation, document: Document) -> None:
    """Refuse items that would offer tools of the upstream's to requests that do not show them.

    Nobody would hold anything for their calls.

    Raises:
        UnsupportedParameter: it has one.
        InvalidType: a tool is not an object.

    """
    member = operation.family.keeps
    items = None if member is None else document.get(member)
    if not isinstance(items, list):
        return
    if document.get("store") is False and not document.get("conversation"):
        return
    for index, item in enumerate(items):
        for tool, at in every_tool(*tools_of(item, path_of(member or "", index))):
            if allowance_for(tool).call:
                raise unsupported(at, "Offer it in `tools`, or set `store: false`.")


def _has_file_url(value: Json) -> bool:
    if isinstance(value, dict):
        return bool(value.get("file_url")) or any(map(_has_file_url, value.values()))
    return isinstance(value, list) and any(map(_has_file_url, value))
