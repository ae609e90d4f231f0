"""What a caller is told of an object that is not theirs, in OpenAI's words for one that nobody has.

The words are the same whoever the object belongs to, so that they tell nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORDS: Final[Mapping[str, str]] = {
    "file": "No such File object: {id}",
    "upload": "No such Upload object: {id}",
    "response": "Response with id '{id}' not found.",
    "conversation": "Conversation with id '{id}' not found.",
    "item": "Item with id '{id}' not found.",
    "vector_store": "Vector store with id '{id}' not found.",
    "container": "Container with id '{id}' not found.",
    "chat_completion": "Chat completion with id '{id}' not found.",
}
_OTHERWISE: Final = "{name} with id '{id}' not found."


def not_found(kind: str, object_id: str) -> str:
    """Say that there is no such object."""
    name = kind.replace("_", " ").capitalize()
    return _WORDS.get(kind, _OTHERWISE).format(name=name, id=object_id)
