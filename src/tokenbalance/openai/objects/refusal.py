"""A question between match and estimate: does a request refer to objects of other callers?

Objects that the upstream stores have no owners here yet, so every reference is refused, and the
message says how to avoid it. Which members are references is decided by `references`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.errors import ModelNotFound
from tokenbalance.openai.ceilings.media import unsupported
from tokenbalance.openai.objects.references import references

if TYPE_CHECKING:
    from tokenbalance.model import Document
    from tokenbalance.openai.operation import Operation

_INSTEAD: Final = {
    "container": 'Leave it out: a container of the request\'s own is `{"type": "auto"}`.',
    "conversation": "Send the whole conversation as `input`.",
    "file": "Send the file itself, as `file_data` or in a data URL.",
    "image": "Send the image itself: with `store: false` clients do.",
    "item": "It is an `item_reference`, which only the upstream can look up. Send the item itself:"
    " with `store: false` clients do.",
    "reasoning": "Send it with its `encrypted_content`, which comes with `store: false` and"
    ' `include: ["reasoning.encrypted_content"]`, or leave the item out.',
    "response": "Send the whole conversation as `input`: with `store: false` clients do.",
}
"""How to avoid a reference, by the kind of object that it refers to."""


def refuse_references(operation: Operation, document: Document) -> None:
    """Refuse a request to an operation that refers to an object which the upstream stores.

    Raises:
        UnsupportedParameter: it does.
        ModelNotFound: its model is a fine-tune.

    """
    for reference in references(operation.family.place, document):
        if reference.kind == "model":
            message = (
                f"The model in '{reference.param}' does not exist or you do not have access to it."
            )
            raise ModelNotFound(message, param=reference.param)
        raise unsupported(reference.param, _INSTEAD.get(reference.kind, ""))
