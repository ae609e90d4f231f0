"""What a server that is not OpenAI may write around a request: its model's chat template.

Which template a server uses is unknown. A template puts markers around each turn, a text of its own
before the first, and tools as JSON. All of it is counted in bytes, as is the text of the request.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json
    from tokenbalance.openai.tokens.models import Model

_OPENING: Final = 32
"""Tokens before the first turn and at the start of the output: markers, a date, a short system
prompt of the template (about 20 in Llama's and Qwen's). Most vocabularies need far fewer tokens
than bytes for a request's text, which leaves room for longer ones."""
_TURN: Final = 24
"""Tokens of the markers around one turn, in addition to the four of OpenAI's: ChatML's, written as
text, have 28 bytes with the role."""
_TOOLS: Final = 192
"""Tokens of how to call a tool: the templates of Qwen and Llama explain it in about 100."""
_TEXT: Final = 4
"""Tokens that begin and end a text without a template."""
_HUGE: Final = re.compile(rb"[0-9]e[0-9]")
_HUGE_BYTES: Final = 320
"""Digits of the longest integer that is a float at all, and so may be written with an exponent."""


def around_texts(model: Model, document: Document) -> Model:
    """The facts about a model whose template is not known, for texts that it does not wrap."""
    return replace(model, overhead=_TEXT * _texts(document))


def around_turns(model: Model, document: Document) -> Model:
    """The facts about a model whose template is not known, for a conversation and its tools."""
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
