"""What an answer says of its own outcome: one rule, whether it comes whole or as a stream.

    usage reported                          charged by it, also when the answer failed
    failed, with output                     counted
    failed, without output                  void
    ended, and nothing of an answer came    void: no choice, no output, no event but `[DONE]`
    anything else                           counted: broken off, cut off, without usage

Owns what a failure is, and what is nothing. It must never guess from a name that stands anywhere
but where the API has it: an `error` inside an item is no failure of the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json, Usage

_FAILED: Final = frozenset({"failed", "cancelled"})


class Metered(Protocol):
    """What a meter has seen of an answer."""

    @property
    def usage(self) -> Usage | None:
        """What was reported."""
        ...

    @property
    def failed(self) -> bool:
        """It was an error, or a response that failed or was cancelled."""
        ...

    @property
    def has_output(self) -> bool:
        """Something came that the model has made."""
        ...

    @property
    def has_response(self) -> bool:
        """Something came that is an answer, be it an empty one."""
        ...


def used_nothing(response: Metered, *, ended: bool) -> bool:
    """Whether an answer costs nothing; `ended` is whether it came to its end."""
    if response.usage is not None:
        return False
    if response.failed:
        return not response.has_output
    return ended and not response.has_response


def is_error(document: Document) -> bool:
    """Whether a document, or an event of a stream, is an error or says that every choice is one."""
    choices = document.get("choices")
    return (
        bool(document.get("error"))
        or document.get("type") == "error"
        or (isinstance(choices, list) and bool(choices) and all(map(_has_error, choices)))
    )


def has_failed(document: Document) -> bool:
    """Whether a whole document is an error, or a response that failed or was cancelled."""
    return is_error(document) or document.get("status") in _FAILED


def may_be_free(document: Document) -> bool:
    """Whether a usage of nothing but zeros can be believed of a document.

    Recorded responses carry zeros where the model did nothing but call functions. Beside anything
    else that a model has made, they are what a server writes that did not count.
    """
    output = document.get("output")
    return isinstance(output, list) and all(map(_is_function_call, output))


def says_nothing(choices: Json) -> bool:
    """Whether the choices of a chunk are there for form's sake: none, or without any content.

    Some servers send the usage that was asked for beside `{"index":0,"delta":{}}`.
    """
    return isinstance(choices, list) and all(map(_is_blank, choices))


def _has_error(choice: Json) -> bool:
    return isinstance(choice, dict) and bool(choice.get("error"))


def _is_function_call(item: Json) -> bool:
    return isinstance(item, dict) and item.get("type") == "function_call"


def _is_blank(choice: Json) -> bool:
    if not isinstance(choice, dict):
        return False
    delta = choice.get("delta")
    said = delta.values() if isinstance(delta, dict) else [delta]
    others = [value for name, value in choice.items() if name not in {"index", "delta"}]
    return all(value is None for value in (*said, *others))
