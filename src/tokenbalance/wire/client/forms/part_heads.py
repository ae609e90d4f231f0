"""The head of one part of a form: which field it is, and whether it is text or a file.

A header that could make another parser see a different name, file or text is refused. It must never
decide what a field means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.errors import InvalidForm

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME_CHARS_MAX: Final = 256

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_KIND: Final = "form-data"
_PARAMETER: Final = re.compile(rf"[ \t]*;[ \t]*({_WORD})=(?:({_WORD})|\"([^\"]*)\")")
_PARAMETER_INSIDE: Final = re.compile(r";\s*(?:file)?name\b", re.IGNORECASE)
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CODINGS: Final = frozenset({b"7bit", b"8bit", b"binary"})
_TEXTS: Final = frozenset({"application/json", "text/plain"})
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii"})


@dataclass(frozen=True, slots=True)
class PartHead:
    """What the head of a part says."""

    name: str
    """As the client wrote it: `image[]`."""
    filename: str | None
    """None: the part is text."""
    content_type: str | None
    size: int | None
    """In bytes, where the head has one."""


def read_head(headers: Mapping[bytes, bytes]) -> PartHead:
    """Read the headers of a part, by their names in lower case.

    Raises:
        InvalidForm: it has no name, or can be read in two ways.

    """
    name, filename = _disposition(headers)
    for header, value in headers.items():
        if _CONTROL.search(value):
            raise _refused(name, f"its header `{header.decode()}` has control characters")
    coding = headers.get(b"content-transfer-encoding", b"binary").strip().lower()
    if coding not in _CODINGS:
        raise _refused(name, "its Content-Transfer-Encoding must be binary, 8bit or 7bit")
    declared = headers.get(b"content-type")
    content_type = None if declared is None else declared.decode("latin-1").strip()
    if filename is None and content_type is not None:
        _require_text(name, content_type)
    return PartHead(name, filename, content_type, _size(name, headers.get(b"content-length")))


def _disposition(headers: Mapping[bytes, bytes]) -> tuple[str, str | None]:
    try:
        text = headers.get(b"content-disposition", b"").decode().strip(" \t")
    except UnicodeDecodeError:
        raise InvalidForm("The Content-Disposition of a part must be in UTF-8.") from None
    parameters = _parameters(text)
    name = parameters.get("name", "")
    if not name:
        raise InvalidForm("Every part of a form must have a name.")
    if len(name) > NAME_CHARS_MAX or not name.isprintable() or "\\" in name:
        msg = f"Names of fields are at most {NAME_CHARS_MAX} printable characters."
        raise InvalidForm(msg)
    filename = parameters.get("filename")
    if filename is None:
        if "filename*" in parameters:
            raise _refused(name, "it has `filename*` without `filename`")
    elif not filename:
        raise _refused(name, "its `filename` is empty")
    elif (len(filename) - len(filename.rstrip("\\"))) % 2:
        # Whoever reads escapes does not see its end here.
        raise _refused(name, 'its `filename` has \\"; write a quotation mark as %22')
    elif _PARAMETER_INSIDE.search(filename):
        raise _refused(name, "its `filename` looks like another parameter")
    return name, filename


def _parameters(text: str) -> dict[str, str]:
    if not text.startswith(_KIND):
        msg = "Every part of a form must have a header `Content-Disposition: form-data; name=...`."
        raise InvalidForm(msg)
    found: dict[str, str] = {}
    at = len(_KIND)
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if match is None:
            raise InvalidForm("The Content-Disposition of a part is malformed.")
        key, token, quoted = match.groups()
        if key in found or key not in {"name", "filename", "filename*"}:
            msg = "The Content-Disposition of a part may have one `name` and one `filename` only."
            raise InvalidForm(msg)
        found[key] = token if token is not None else quoted
        at = match.end()
    return found


def _require_text(name: str, content_type: str) -> None:
    """Refuse a type by which some parsers take a part without a file name for a file."""
    media, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = [
        value.removeprefix("charset=").strip('"')
        for value in parameters
        if value.startswith("charset")
    ]
    if media not in _TEXTS or len(charsets) > 1 or any(one not in _CHARSETS for one in charsets):
        raise _refused(name, "it is not a file, so it must be text/plain in UTF-8")


def _size(name: str, length: bytes | None) -> int | None:
    if length is None:
        return None
    text = length.strip()
    if not text.isdigit():
        raise _refused(name, "its Content-Length is not a number")
    return int(text)


def _refused(name: str, why: str) -> InvalidForm:
    return InvalidForm(f"Invalid form field '{name}': {why}.", param=name)
