"""A question between match and estimate: does a request name what is not its caller's?

Nothing that the upstream keeps has an owner here yet, so whatever is named is refused, and the
message says what avoids it. Which members name something is the table's to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.errors import ModelNotFound
from tokenbalance.openai.ceilings.media import unsupported
from tokenbalance.openai.objects.references import references

if TYPE_CHECKING:
    from tokenbalance.model import Document
    from tokenbalance.openai.operation import Metering

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
"""What avoids a reference, by the kind of thing that it names."""


def refuse_references(metering: Metering, document: Document) -> None:
    """See that a request to an endpoint of this metering names nothing that the upstream keeps.

    Raises:
        UnsupportedParameter: it does.
        ModelNotFound: it names a fine-tune.

    """
    for reference in references(metering, document):
        if reference.kind == "model":
            message = (
                f"The model in '{reference.param}' does not exist or you do not have access to it."
            )
            raise ModelNotFound(message, param=reference.param)
        raise unsupported(reference.param, _INSTEAD.get(reference.kind, ""))
