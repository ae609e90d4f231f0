"""The fields of a form as one document: `x[]` and repeated names are lists, `x[y]` are objects.

The text of a field stays text: `"n": "2"`. Names are compared as they are written; one that another
server could take for one of OpenAI's, but that is spelled differently, is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.errors import InvalidForm

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json

DEPTH_MAX: Final = 8
"""Of brackets in a name."""

_NAME: Final = re.compile(r"([a-z][a-z0-9_]*)((?:\[[^\[\]]*\])*)")
SINGULAR: Final = frozenset({
    "background", "chunking_strategy", "duration", "file", "file_id", "input_fidelity", "language",
    "mask", "model", "moderation", "n", "output_compression", "output_format", "partial_images",
    "prompt", "purpose", "quality", "response_format", "size", "stream", "temperature", "user",
    "voice",
})  # fmt: skip
"""Fields that have one value. Of two, one server takes the first and another the last."""


class Fields:
    """What has been read of the fields of one form."""

    __slots__ = ("_kinds", "document")

    def __init__(self) -> None:
        self.document: Document = {}
        self._kinds: dict[str, str] = {}
        """How each name, or beginning of a name, was used: as a value, a list or an object."""

    def add(self, name: str, value: Json) -> None:
        """Add a field.

        Raises:
            InvalidForm: its name is malformed, was there before, or was used in another way.

        """
        found = _NAME.fullmatch(name)
        if found is None:
            msg = f"Invalid form field '{name}': names are lower-case, with brackets at their end."
            raise InvalidForm(msg, param=name)
        base, brackets = found.groups()
        keys = brackets[1:-1].split("][") if brackets else []
        if len(keys) > DEPTH_MAX:
            raise InvalidForm(f"Invalid form field '{base}': too many brackets.", param=base)
        self._put(self.document, base, keys, value, base)

    def _put(self, within: Document, key: str, keys: list[str], value: Json, at: str) -> None:
        if not keys:
            self._set(within, key, value, at)
            return
        following, *rest = keys
        if following:
            self._note(at, "object")
            inner = cast("Document", within.setdefault(key, {}))
            self._put(inner, following, rest, value, f"{at}[{following}]")
            return
        self._note(at, "list")
        elements = cast("list[Json]", within.setdefault(key, []))
        for step in reversed(rest):
            # Each is an element of its own, whichever of them belong together.
            value = {step: value} if step else [value]
        elements.append(value)

    def _set(self, within: Document, key: str, value: Json, at: str) -> None:
        if self._kinds.get(at) == "several":
            cast("list[Json]", within[key]).append(value)
        elif self._kinds.get(at) == "value":
            if at in SINGULAR or "[" in at:
                raise InvalidForm(f"The form field '{at}' was sent more than once.", param=at)
            self._kinds[at] = "several"
            within[key] = [within[key], value]
        else:
            self._note(at, "value")
            within[key] = value

    def _note(self, at: str, kind: str) -> None:
        if self._kinds.setdefault(at, kind) != kind:
            msg = f"The form field '{at}' was sent both with brackets and without them."
            raise InvalidForm(msg, param=at)
