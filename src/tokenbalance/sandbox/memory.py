"""What the sandbox keeps of the objects that requests make, in the memory of its process.

Bounded in number and in bytes: the oldest objects go first. An id in OpenAI's form exists only if
it was made here. One of the documentation's ("file_id", "file-abc123") always exists, as an example
of its kind, so that the SDKs' own tests can be run against the sandbox.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tokenbalance.model import Document

OBJECTS_MAX: Final = 10_000
BYTES_MAX: Final = 256 * 1024 * 1024

_RANDOM_ID: Final = re.compile(r"[A-Za-z]+[-_][A-Za-z0-9-]{20,}")
_DOCUMENTED: Final = frozenset(
    {
        "file-AF1WoRqd3aJAHsqc9NY7iL8F",
        "file-XjGxS3KTG0uNmNOK362iJua3",
        "resp_677efb5139a88190b512bc3fef8e535d",
        "resp_677efb5139a88190b512bc3fef8e535d0",
    }
)
"""Ids in OpenAI's form that its documentation and the SDKs' tests use."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An object, as its document, with what belongs to it."""

    kind: str
    document: Document
    parent: str = ""
    """The id of the object that it is part of."""
    data: bytes = b""
    """The content of a file."""

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.document["id"])

    @property
    def size(self) -> int:
        """How much of the memory it takes, in bytes."""
        return len(self.data) + len(orjson.dumps(self.document))


class Memory:
    """Objects by kind, parent and id. Every method may be called in any thread."""

    def __init__(self, objects_max: int = OBJECTS_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._objects_max = objects_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, str, str], Kept] = OrderedDict()
        self._lock = threading.RLock()

    def keep(self, kind: str, document: Document, *, parent: str = "", data: bytes = b"") -> Kept:
        """Keep an object, in place of an older one with its id."""
        kept = Kept(kind, document, parent, data)
        with self._lock:
            self._forget((kind, parent, kept.id))
            self._kept[kind, parent, kept.id] = kept
            self._bytes += kept.size
            while len(self._kept) > self._objects_max or self._bytes > self._bytes_max:
                self._forget(next(iter(self._kept)))
        return kept

    def find(self, kind: str, name: str, parent: str = "") -> Kept | None:
        """Return the object of an id; None if it was never made, or is gone."""
        with self._lock:
            return self._kept.get((kind, parent, name))

    def part(self, kinds: Collection[str], name: str) -> Kept | None:
        """Return the object of an id that is of one of these kinds, whatever it is part of."""
        with self._lock:
            found = (one for key, one in self._kept.items() if key[0] in kinds and key[2] == name)
            return next(found, None)

    def change(self, kept: Kept, **members: object) -> Kept:
        """Set members of an object's document; it keeps its place in lists."""
        changed = replace(kept, document={**kept.document, **members})
        key = (kept.kind, kept.parent, kept.id)
        with self._lock:
            if key in self._kept:
                self._bytes += changed.size - self._kept[key].size
                self._kept[key] = changed
        return changed

    def drop(self, kept: Kept) -> None:
        """Forget an object and those that are part of it."""
        with self._lock:
            self._forget((kept.kind, kept.parent, kept.id))
            parts = [key for key in self._kept if key[1] == kept.id]
            for key in parts:
                self._forget(key)

    def every(self, kind: str, parent: str = "") -> list[Kept]:
        """List the objects of a kind, the oldest first."""
        with self._lock:
            return [kept for key, kept in self._kept.items() if key[:2] == (kind, parent)]

    def found_or_example(
        self, kind: str, name: str, example: Callable[[str], Document], parent: str = ""
    ) -> Kept | None:
        """Return the object of an id, or an example of its kind for an id of the documentation."""
        kept = self.find(kind, name, parent)
        if kept is None and is_example(name):
            return Kept(kind, example(name), parent)
        return kept

    def _forget(self, key: tuple[str, str, str]) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= kept.size


def is_example(name: str) -> bool:
    """Whether an id is one of the documentation's, which always exist."""
    return name in _DOCUMENTED or _RANDOM_ID.fullmatch(name) is None
