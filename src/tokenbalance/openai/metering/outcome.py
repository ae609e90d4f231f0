"""What a response reports about its own outcome: one rule, for documents and for streams.

    usage reported                          charged by it, even if the response failed
    failed, with output                     counted
    failed, without output                  void
    ended, without any part of a response   void: no choice, no output, no event but `[DONE]`
    anything else                           counted: broken off, cut off, without usage

Owns what a failure is, and what is nothing. It only looks where the API puts a member: an `error`
inside an item is not a failure of the response.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document, Json, Usage

_FAILED: Final = frozenset({"failed", "cancelled"})
_CODE: Final = re.compile(r"[A-Za-z_]{1,64}|[0-9]{1,9}")
"""Codes are words or numbers. No secret has only letters, and no text of a request is one word."""


class Metered(Protocol):
    """What a meter has seen of a response."""

    @property
    def usage(self) -> Usage | None:
        """The reported usage."""
        ...

    @property
    def failed(self) -> bool:
        """It was an error, or a response that failed or was cancelled."""
        ...

    @property
    def error_code(self) -> str:
        """The code of that error; empty if it has none."""
        ...

    @property
    def fees(self) -> Mapping[str, int]:
        """Without usage: calls of tools, by the kind of their fee."""
        ...

    @property
    def drawn(self) -> int:
        """Images that were drawn, as far as can be seen, and are not in the usage."""
        ...

    @property
    def is_partial(self) -> bool:
        """More may be billed than the usage says: the response is too long to find all of it."""
        ...

    @property
    def has_output(self) -> bool:
        """It contains output of the model."""
        ...

    @property
    def has_response(self) -> bool:
        """It is a response, even if an empty one."""
        ...


def used_nothing(response: Metered, *, ended: bool) -> bool:
    """Whether a response costs nothing; `ended` is whether it came to its end."""
    if response.usage is not None:
        return False
    if response.failed:
        return not response.has_output
    return ended and not response.has_response


def is_error(document: Document) -> bool:
    """Whether a document, or an event of a stream, is an error, or each of its choices is one."""
    choices = document.get("choices")
    return (
        bool(document.get("error"))
        or document.get("type") == "error"
        or (isinstance(choices, list) and bool(choices) and all(map(_has_error, choices)))
    )


def has_failed(document: Document) -> bool:
    """Whether a whole document is an error, or a response that failed or was cancelled."""
    return is_error(document) or document.get("status") in _FAILED


def error_code(document: Document) -> str:
    """Return the code of the error that a document or an event reports, else its type.

    Empty if there is no error, or if neither looks like a code.
    """
    error = _error_in(document)
    if not isinstance(error, dict):
        return ""
    names = (error.get(name) for name in ("code", "type"))
    shown = (str(name) for name in names if isinstance(name, str | int))
    return next((name for name in shown if _CODE.fullmatch(name)), "")


def _error_in(document: Document) -> Json:
    response, choices = document.get("response"), document.get("choices")
    if document.get("error"):
        return document["error"]
    if isinstance(response, dict):
        return response.get("error")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0].get("error")
    return document


def may_be_free(document: Document) -> bool:
    """Whether a usage report of only zeros is plausible for a document.

    Recorded responses report zeros if the model only called functions. Next to any other output,
    zeros mean that the server did not count.
    """
    output = document.get("output")
    return isinstance(output, list) and all(map(_is_function_call, output))


def says_nothing(choices: Json) -> bool:
    """Whether the choices of a chunk have no content, or there are none.

    Some servers send the requested usage next to `{"index":0,"delta":{}}`.
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
