"""What a caller is told of an object that is not theirs, in OpenAI's words for one that nobody has.

The words are the same whoever the object belongs to, so that they tell nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORDS: Final[Mapping[str, str]] = {
    "chat_completion": "Chat completion with id '{id}' not found.",
    "container": "Container with id '{id}' not found.",
    "conversation": "Conversation with id '{id}' not found.",
    "file": "No such File object: {id}",
    "item": "Item with id '{id}' not found.",
    "model": "The model '{id}' does not exist",
    "response": "Response with id '{id}' not found.",
    "upload": "No such Upload object: {id}",
    "upload_part": "No such UploadPart object: {id}",
    "vector_store": "No vector store found with id '{id}'.",
}
"""By kind of object."""
_WORDS_WITHIN: Final[Mapping[str, str]] = {
    "container_file": "File {id} not found on container {parent}.",
    "item": "Item with id '{id}' not found in conversation.",
    "vector_store_file": "No file found with id '{id}' in vector store '{parent}'.",
    "vector_store_file_batch": "No file batch found with id '{id}' in vector store '{parent}'.",
}
"""By kind of object, for one that the path has behind another."""
_WORDS_AT: Final[Mapping[str, str]] = {
    "previous_response_id": "Previous response with id '{id}' not found.",
}
"""By the parameter that has the id."""
_OTHERWISE: Final = "{name} with id '{id}' not found."


def not_found(
    kind: str, object_id: str, *, param: str | None = None, parent: str | None = None
) -> str:
    """Say that there is no such object.

    Args:
        kind: of the object that was meant.
        object_id: its id.
        param: the parameter that has it; None: the path does.
        parent: the object that comes before it in the path.

    """
    words = _WORDS_AT.get(param or "") or (parent and _WORDS_WITHIN.get(kind)) or _WORDS.get(kind)
    name = kind.replace("_", " ").capitalize()
    return (words or _OTHERWISE).format(name=name, id=object_id, parent=parent)
