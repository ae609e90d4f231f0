"""What a server that is not OpenAI may write around a request: its model's chat template.

Which template that is nobody tells. It puts markers around each turn, words of its own in front
of the first, and tools as JSON. All of it counts in bytes, as does the text of such a request.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import orjson

from tokenbalance.openai.operation import Metering

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json
    from tokenbalance.openai.tokens.models import Model

_OPENING: Final = 32
"""Tokens of what stands before the first turn and begins the answer: markers, a date, a short
system prompt of the template's own (Llama's and Qwen's have some 20). Words of a request are far
fewer tokens than bytes in most vocabularies, which leaves room for longer ones."""
_TURN: Final = 24
"""Tokens of the markers around one turn beside the four that OpenAI's take: ChatML's, written as
text, have 28 bytes with the role."""
_TOOLS: Final = 192
"""Tokens of how to call a tool: the templates of Qwen and Llama explain it in about 100."""
_TEXT: Final = 4
"""Tokens that begin and end a text that no template is put around."""
_HUGE: Final = re.compile(rb"[0-9]e[0-9]")
_HUGE_BYTES: Final = 320
"""Digits of the longest integer that is a float at all, and so may be written with an exponent."""


def with_template(model: Model, document: Document, metering: Metering) -> Model:
    """The facts about a model whose template is not known, for this request."""
    if metering in {Metering.COMPLETIONS, Metering.EMBEDDINGS}:
        return replace(model, overhead=_TEXT * _texts(document))
    turns = document.get("messages", document.get("input"))
    overhead = _OPENING + _TURN * (len(turns) if isinstance(turns, list) else 1)
    tools = {name: document.get(name) for name in ("tools", "functions")}
    if any(tools.values()):
        overhead += _TOOLS + written(tools)
    return replace(model, overhead=overhead)


def _texts(document: Document) -> int:
    """How many texts, or lists of tokens, an embedding or a completion is of."""
    value = document.get("prompt", document.get("input"))
    return len(value) if isinstance(value, list) and value and not _is_number(value[0]) else 1


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float))


def written(value: Json | dict[str, Json]) -> int:
    """Bytes at most of `value` as indented JSON."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2)
    return len(text) + _HUGE_BYTES * len(_HUGE.findall(text))
