"""A question between match and estimate: which objects does a request refer to?

References of kinds that nobody can own here are refused.
Which members are references is decided by `references`, and whose the objects are by the caller.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tokenbalance.errors import InvalidType, ModelNotFound
from tokenbalance.openai.ceilings.media import unsupported
from tokenbalance.openai.objects.references import Reference, references

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
    "reasoning": "item",
    "response": "response",
    "skill": "skill",
    "vector_store": "vector_store",
    "voice": "voice",
}
"""Kinds of references to objects that can be somebody's, each with the kind of the object."""


def references_of(operation: Operation, document: Document) -> tuple[Reference, ...]:
    """Find the objects that a request refers to; the value of each is one id.

    Raises:
        UnsupportedParameter: one is of a kind that nobody can own here.
        InvalidType: an id is not a string.
        ModelNotFound: its model is a fine-tune.

    """
    found: list[Reference] = []
    for reference in references(operation.family.place, document):
        if reference.kind == "model":
            raise _no_model(reference)
        kind = _OWNABLE.get(reference.kind)
        if kind is None:
            raise unsupported(reference.param)
        found += _each(kind, reference)
    return tuple(found)


def _each(kind: str, reference: Reference) -> Iterator[Reference]:
    value, param = reference.value, reference.param
    if isinstance(value, list):
        for index, one in enumerate(value):
            yield from _each(kind, replace(reference, value=one, param=f"{param}[{index}]"))
    elif isinstance(value, dict):
        yield from _each(kind, replace(reference, value=value.get("id"), param=f"{param}.id"))
    elif isinstance(value, str):
        yield replace(reference, kind=kind)
    else:
        msg = f"Invalid type for '{param}': expected the id of an object, as a string."
        raise InvalidType(msg, param=param)


def _no_model(reference: Reference) -> ModelNotFound:
    message = f"The model in '{reference.param}' does not exist or you do not have access to it."
    return ModelNotFound(message, param=reference.param)
