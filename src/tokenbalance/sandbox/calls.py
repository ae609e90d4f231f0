"""A request as endpoints see it: its fields, its files, and the ids of its path.

JSON and forms are read into the same shape. A form's text is a string until a name says that it is
a number or a boolean; `x[]` is a list and `x[y]` an object, as the SDKs write them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from starlette.datastructures import FormData, UploadFile

from tokenbalance.sandbox.faults import no_such_object
from tokenbalance.sandbox.fields import Fields, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tokenbalance.model import Document, Json
    from tokenbalance.sandbox.memory import Kept, Memory
    from tokenbalance.sandbox.replies import Reply

CONTENT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of a longer file only the beginning is kept, but its size is remembered."""

_INTEGERS: Final = frozenset(
    {"bytes", "frame_count", "n", "output_compression", "partial_images", "seconds"}
)
_NUMBERS: Final = frozenset({"temperature"})
_BOOLEANS: Final = frozenset({"default", "stream"})
_STEP: Final = re.compile(r"([^\[\]]+)|\[([^\[\]]*)\]")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a form."""

    filename: str
    content_type: str
    size: int
    data: bytes
    """Its content, of which no more than `CONTENT_BYTES_MAX` is kept."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    fields: Fields
    memory: Memory
    path: Mapping[str, str] = field(default_factory=dict[str, str])
    """The values of the path's parameters."""
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    files: Mapping[str, Sequence[Attachment]] = field(
        default_factory=dict[str, "Sequence[Attachment]"]
    )
    """A form's files by their field, without `[]`."""

    def required_file(self, name: str) -> Attachment:
        """Return a file that must be there.

        Raises:
            ApiError: it is not.
        """
        found = self.files.get(name)
        if not found:
            raise missing(name)
        return found[0]

    def named(
        self,
        kind: str,
        parameter: str,
        example: Callable[[str], Document],
        parent: str = "",
    ) -> Kept:
        """Return the object that the path names.

        Args:
            kind: its kind.
            parameter: that of the path.
            example: makes one of this kind for an id of the documentation.
            parent: the id of the object that it is part of.

        Raises:
            ApiError: it does not exist.

        """
        name = self.path[parameter]
        kept = self.memory.found_or_example(kind, name, example, parent)
        if kept is None:
            raise no_such_object(kind, name)
        return kept


Endpoint: TypeAlias = "Callable[[Call], Reply]"


async def read_form(form: FormData) -> tuple[Fields, dict[str, list[Attachment]]]:
    """Read a form's fields and its files."""
    document: Document = {}
    files: dict[str, list[Attachment]] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            files.setdefault(name.removesuffix("[]"), []).append(await _attachment(value))
        else:
            _set(document, name, value)
    return Fields(document), files


async def _attachment(upload: UploadFile) -> Attachment:
    data = await upload.read(CONTENT_BYTES_MAX)
    return Attachment(
        upload.filename or "upload",
        upload.content_type or "application/octet-stream",
        upload.size or len(data),
        data,
    )


def _set(document: Document, name: str, text: str) -> None:
    """Set a member by its name in a form: `a`, `a[]`, or `a[b][c]`."""
    steps = [found[1] or found[2] or "" for found in _STEP.finditer(name)]
    holder = document
    *outer, last = steps or [name]
    if outer and not last:
        *outer, last = outer
        holder = _within(holder, outer)
        values = holder.setdefault(last, [])
        if isinstance(values, list):
            values.append(text)
        return
    holder = _within(holder, outer)
    holder[last] = _typed(last, text)


def _within(holder: Document, steps: Sequence[str]) -> Document:
    for step in steps:
        inner = holder.setdefault(step, {})
        if not isinstance(inner, dict):
            inner = holder[step] = {}
        holder = cast("Document", inner)
    return holder


def _typed(name: str, text: str) -> Json:
    if name in _INTEGERS and text.lstrip("-").isdigit():
        return int(text)
    if name in _BOOLEANS and text in {"true", "false"}:
        return text == "true"
    if name in _NUMBERS:
        try:
            return float(text)
        except ValueError:
            return text
    return text
