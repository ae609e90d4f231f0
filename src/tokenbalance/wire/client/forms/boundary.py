"""The boundary of a form: what the `Content-Type` of a request says about its body.

It goes upstream as it was read here, never as the client wrote it: other parameters, or another
spelling, could make the upstream cut the same bytes at another place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.errors import InvalidForm, UnsupportedMediaType

if TYPE_CHECKING:
    from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]

BOUNDARY_BYTES_MAX: Final = 70
"""RFC 2046 section 5.1.1."""

_FORM: Final = b"multipart/form-data"
_WORD: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER: Final = re.compile(
    rb"[ \t]*;[ \t]*(?:(" + _WORD + rb")=(?:(" + _WORD + rb')|"([^"\\]*)"))?'
)
# RFC 2046 section 5.1.1, but without blanks, which are not sent as they are by every client.
_BOUNDARY: Final = re.compile(rb"[0-9A-Za-z'()+_,./:=?-]+")
_UTF_8: Final = frozenset({b"utf-8", b"utf8"})


@dataclass(frozen=True, slots=True)
class Boundary:
    """What parts a form."""

    value: bytes

    @property
    def content_type(self) -> bytes:
        """The header that a form with this boundary is sent with."""
        is_token = re.fullmatch(_WORD, self.value) is not None
        return _FORM + (b"; boundary=%b" if is_token else b'; boundary="%b"') % self.value


def is_form(headers: Headers) -> bool:
    """Whether a request is declared to have a form as its body."""
    return any(
        name == b"content-type" and value.partition(b";")[0].strip().lower() == _FORM
        for name, value in headers
    )


def boundary_of(headers: Headers) -> Boundary:
    """Read what a request declares its body to be.

    Raises:
        UnsupportedMediaType: it is not a form, or not in UTF-8.
        InvalidForm: it has no boundary, an invalid one, or more than one.

    """
    types = [value for name, value in headers if name == b"content-type"]
    if len(types) > 1:
        raise InvalidForm("More than one Content-Type header was sent; exactly one is accepted.")
    if not types or not is_form(headers):
        msg = "The request body must be a form (Content-Type: multipart/form-data; boundary=...)."
        raise UnsupportedMediaType(msg)
    parameters = list(_parameters(types[0][len(types[0].partition(b";")[0]) :]))
    names = [name for name, _ in parameters]
    if len(set(names)) < len(names) or any(b"*" in name for name in names):
        raise InvalidForm("The Content-Type of a form has a parameter twice, or an encoded one.")
    fields = dict(parameters)
    if fields.get(b"charset", b"utf-8").lower() not in _UTF_8:
        raise UnsupportedMediaType("The text of a form must be in UTF-8.")
    return Boundary(_checked(fields.get(b"boundary")))


def _parameters(text: bytes) -> Iterable[tuple[bytes, bytes]]:
    at = 0
    while at < len(text.rstrip()):
        found = _PARAMETER.match(text, at)
        if found is None:
            raise InvalidForm("The Content-Type of a form is malformed.")
        name, token, quoted = found.groups()
        if name is not None:
            yield name.lower(), token if token is not None else quoted
        at = found.end()


def _checked(boundary: bytes | None) -> bytes:
    if not boundary:
        raise InvalidForm("The Content-Type of a form must have a boundary.")
    if len(boundary) > BOUNDARY_BYTES_MAX:
        msg = f"The boundary of a form may have {BOUNDARY_BYTES_MAX} characters at most."
        raise InvalidForm(msg)
    if _BOUNDARY.fullmatch(boundary) is None:
        msg = "The boundary of a form may have letters, digits and '()+_,./:=?- only."
        raise InvalidForm(msg)
    return boundary
