"""A question between match and estimate: which objects does a request refer to?

References of kinds that nobody can own here are refused.
Which members are references is decided by `references`, and whose the objects are by the caller.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tokenbalance.errors import InvalidType
from tokenbalance.openai.ceilings.media import unsupported
from tokenbalance.openai.objects.references import Reference, references
from tokenbalance.openai.unknown import ids_of_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Document
    from tokenbalance.openai.operation import Operation

_OWNABLE: Final = {
    "chat_audio": "chat_audio",
    "container": "container",
    "container_file": "container_file",
    "conversation": "conversation",
    "file": "file",
    "image": "item",
    "item": "item",
    "model": "model",
    "reasoning": "item",
    "response": "response",
    "skill": "skill",
    "upload_part": "upload_part",
    "vector_store": "vector_store",
    "voice": "voice",
    "voice_consent": "voice_consent",
}
"""Kinds of references to objects that can be somebody's, each with the kind of the object."""


def references_of(operation: Operation, document: Document) -> tuple[Reference, ...]:
    """Find the objects that a request refers to; the value of each is one id.

    Raises:
        UnsupportedParameter: one is of a kind that nobody can own here.
        InvalidType: an id is not a string.

    """
    if operation.has_fixed_ceiling:
        return ids_of_request(document)
    found: list[Reference] = []
    for reference in references(operation.family.place, document):
        kind = _OWNABLE.get(reference.kind)
        if kind is None:
            raise unsupported(reference.param)
        found += _each(kind, reference)
    return tuple(found)


_AS_OBJECTS: Final = frozenset({"container", "conversation", "voice"})
"""Kinds that may be named by a JSON object with an `id`."""


def _each(kind: str, reference: Reference) -> Iterator[Reference]:
    value, param = reference.value, reference.param
    if isinstance(value, list):
        for index, one in enumerate(value):
            yield from _each(kind, replace(reference, value=one, param=f"{param}[{index}]"))
    elif isinstance(value, dict) and kind in _AS_OBJECTS:
        yield from _each(kind, replace(reference, value=value.get("id"), param=f"{param}.id"))
    elif isinstance(value, str):
        yield replace(reference, kind=kind)
    else:
        msg = f"Invalid type for '{param}': expected the id of an object, as a string."
        raise InvalidType(msg, param=param)
