"""The output text of a response, collected from the bytes that pass, to count if no usage comes.

A stream's JSON is not parsed: raw string bodies are found by their keys, and unescaped only on
demand. Events are parsed only if several choices come at once, since their texts are counted one by
one. It must never keep more than about TEXT_MAX bytes.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, cast

import orjson
from typing_extensions import override

from tokenbalance.openai.json_text import compiled
from tokenbalance.openai.metering.sse import document_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Json

TEXT_MAX = 2 * 1024 * 1024
TEXT_BATCH = 4 * 1024
READ_MAX = 64 * 1024

STRING_BODY = rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+'
"""What may be between the quotes of a JSON string."""

# Keys whose strings are output, in the order in which they are joined. A stream of /responses has
# its text in "delta" and repeats it under other keys, so "delta" stands alone.
_DELTA = b"delta"
_TEXT_KEYS = (b"content", b"reasoning_content", b"refusal", b"text", b"arguments")
_QUOTED = {key: b'"' + key + b'"' for key in (_DELTA, *_TEXT_KEYS)}
_BODIES = {
    key: compiled(quoted + rb'(?::"|[ \t]*+:[ \t]*+")(' + STRING_BODY + rb")")
    for key, quoted in _QUOTED.items()
}

# In a whole document: more keys, and nested values that are not the model's output.
_DOCUMENT_KEYS = frozenset({"transcript", "input", "code", *(k.decode() for k in _TEXT_KEYS)})
_NOT_OUTPUT = frozenset({"logprobs", "annotations", "results", "outputs"})

# A choice, or an event of a response: a response has begun, though it may be empty.
_RESPONSE = re.compile(
    rb'"choices"\s*+:\s*+\[\s*+\{'
    rb'|"type"\s*+:\s*+"(?:response|image_generation|image_edit|transcript|speech)\.'
)
_DATA_LINE = re.compile(rb"(?:\xef\xbb\xbf)?data:(.*+)")


class RelayedText:
    """Collects raw bodies of output strings, at most about TEXT_MAX bytes of them.

    They are kept separately by key, so that the result does not depend on how the bytes were cut,
    and unescaped only on demand: usually the upstream reports usage, and they are never needed.
    Searching several events at once takes half the time of searching each, and none at all if usage
    comes first. So events are batched: up to TEXT_BATCH bytes if they come one by one and slowly,
    up to READ_MAX if many come at once and the end is near.
    """

    __slots__ = ("_bodies", "_events", "_has_response", "_size")

    def __init__(self) -> None:
        self._events = b""
        self._bodies: dict[bytes, bytearray] = {}
        self._size = 0
        self._has_response = False

    def collect(self, data: bytes) -> None:
        """Collect what looks like output text in `data`, one or more whole events."""
        size = len(self._events) + len(data)
        if size > TEXT_BATCH and (size > READ_MAX or len(self._events) <= TEXT_BATCH):
            self._extract()
        self._events += data
        if len(data) > READ_MAX:
            self._extract()

    def texts(self) -> list[str]:
        """Return the texts that are each counted as one, unescaped; without empty ones."""
        self._extract()
        keys = (_DELTA,) if _DELTA in self._bodies else _TEXT_KEYS
        text = "".join(_unescape(bytes(self._bodies.get(key, b""))) for key in keys)
        return [text] if text else []

    @property
    def has_response(self) -> bool:
        """Whether any part of a response came, even without text."""
        self._extract()
        return self._has_response or self._size > 0

    def _extract(self) -> None:
        events, self._events = self._events, b""
        if self._size > TEXT_MAX:
            return
        self._has_response = self._has_response or _RESPONSE.search(events) is not None
        self._extract_from(events)

    def _extract_from(self, events: bytes) -> None:
        for key, quoted in _QUOTED.items():
            if events.rfind(quoted) >= 0:
                self._add(key, b"".join(_BODIES[key].findall(events)))

    def _add(self, key: bytes, body: bytes) -> None:
        if body:
            self._bodies.setdefault(key, bytearray()).extend(body)
            self._size += len(body)


class TextsOfChoices(RelayedText):
    """Collects the texts of several choices that come at once, each separately.

    Joined in the order of arrival they would be a text that was never written, with another count.
    """

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        super().__init__()
        self._texts: dict[int, list[str]] = {}

    @override
    def texts(self) -> list[str]:
        rest = super().texts()
        return [*("".join(pieces) for _, pieces in sorted(self._texts.items())), *rest]

    @override
    def _extract_from(self, events: bytes) -> None:
        for line in events.splitlines():
            data = _DATA_LINE.match(line)
            choices = document_of(data[1]).get("choices") if data is not None else None
            if isinstance(choices, list):
                self._add_choices(choices)
            else:
                # It broke off, or has no choices.
                super()._extract_from(line)

    def _add_choices(self, choices: list[Json]) -> None:
        for choice in choices:
            index = choice.get("index") if isinstance(choice, dict) else None
            text = "".join(output_texts(choice))
            if text:
                at = index if isinstance(index, int) else 0
                self._texts.setdefault(at, []).append(text)
                self._size += len(text)


def output_texts(value: Json) -> Iterator[str]:
    """Yield the strings of a whole document that are the model's output, in order."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(reversed(item))
        elif isinstance(item, dict):
            for key, member in item.items():
                if isinstance(member, str):
                    if key in _DOCUMENT_KEYS:
                        yield member
                elif key not in _NOT_OUTPUT:
                    pending.append(member)


def _unescape(body: bytes) -> str:
    quoted = b'"' + body + b'"'
    try:
        return cast("str", orjson.loads(quoted))
    except orjson.JSONDecodeError:
        # Half a surrogate pair, or half a character, where the response broke off.
        text = cast("str", json.loads(quoted.decode("utf-8", "replace")))
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
