"""The query of a request: what of it goes upstream, and which objects it names.

It is taken apart here and put together again, so that the upstream cannot read it in another way
than this server did. A parameter that the operation's row does not name is dropped: it could turn
the request into another operation, which nobody has bounded. It is not refused, since OpenAI
ignores unknown parameters as well, and clients that were written for another server add theirs
(`api-version`) to every request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote_to_bytes

from tokenbalance.errors import InvalidValue, UrlTooLong
from tokenbalance.openai.objects.references import Reference

if TYPE_CHECKING:
    from tokenbalance.openai.operation import Operation

QUERY_BYTES_MAX: Final = 8 * 1024
PARAMETERS_MAX: Final = 100

_CURSORS: Final = frozenset({"after", "before"})
"""Parameters that name an element of a list, where the next page begins or the last one ended."""
# A name, and what makes a list or an object of it: `include[]`, `metadata[topic]`.
_NAME: Final = re.compile(r"(\w+)((?:\[[^\[\]]*\])*)", re.ASCII)
_BROKEN_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of a request's query that its operation has."""

    parameters: tuple[tuple[str, str], ...] = ()
    """Names and values, decoded, in the order of the query. A list is a name that occurs more than
    once, with or without `[]` at its end."""
    references: tuple[Reference, ...] = ()
    """The objects that they name, which must be the caller's."""

    def values(self, name: str) -> tuple[str, ...]:
        """Every value of a parameter, of `name` and `name[]` alike."""
        return tuple(value for known, value in self.parameters if known in {name, f"{name}[]"})

    @property
    def encoded(self) -> str:
        """The query as it goes upstream, without a question mark."""
        if not self.parameters:
            return ""
        return "&".join(
            f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in self.parameters
        )


NO_QUERY: Final = Query()


def query_of(operation: Operation, raw: bytes) -> Query:
    """Read the query of a request to an operation.

    Raises:
        UrlTooLong: it has more than QUERY_BYTES_MAX bytes.
        InvalidValue: a parameter of the operation is not UTF-8 with correct escapes, or there are
            too many.

    """
    if not raw or not operation.query:
        return NO_QUERY
    if len(raw) > QUERY_BYTES_MAX:
        msg = f"The query of the URL is longer than {QUERY_BYTES_MAX} bytes."
        raise UrlTooLong(msg)
    parameters: list[tuple[str, str]] = []
    references: list[Reference] = []
    kind = _listed_kind(operation)
    for part in raw.split(b"&"):
        spelled, _, value = part.partition(b"=")
        name, base = _name(spelled)
        if base not in operation.query:
            continue
        parameters.append((name, _value(value, base)))
        if kind is not None and base in _CURSORS and parameters[-1][1]:
            references.append(Reference(kind, parameters[-1][1], base))
    if len(parameters) > PARAMETERS_MAX:
        msg = f"Invalid query: it has more than {PARAMETERS_MAX} parameters."
        raise InvalidValue(msg)
    return Query(tuple(parameters), tuple(references))


def _listed_kind(operation: Operation) -> str | None:
    """The kind of the elements of a list that the upstream answers, where they have owners."""
    kind = operation.lists
    if kind is None or not operation.uses:
        return None
    owned = {spec.partition(":")[0].removeprefix("listed_") for spec in operation.creates}
    return kind if kind in owned else None


def _name(spelled: bytes) -> tuple[str, str]:
    """A name as it goes upstream, and without what makes a list of it; empty if it is none."""
    try:
        found = _NAME.fullmatch(_decoded(spelled))
    except ValueError:
        found = None
    return ("", "") if found is None else (found[0], found[1])


def _value(spelled: bytes, name: str) -> str:
    try:
        return _decoded(spelled)
    except ValueError:
        msg = f"Invalid '{name}': its value in the URL must be UTF-8 text, percent-encoded once."
        raise InvalidValue(msg, param=name) from None


def _decoded(spelled: bytes) -> str:
    if _BROKEN_ESCAPE.search(spelled):
        msg = "a percent sign that begins no escape"
        raise ValueError(msg)
    text = unquote_to_bytes(spelled.replace(b"+", b" ")).decode("utf-8")
    if _CONTROL.search(text):
        msg = "a control character"
        raise ValueError(msg)
    return text
