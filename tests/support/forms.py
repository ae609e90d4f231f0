"""Forms as clients write them, and operations that take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.openai.examples.conversations import NEW_CONVERSATION_EXAMPLES
from tokenbalance.openai.families import FORM, READ
from tokenbalance.openai.match import Surface
from tokenbalance.openai.operation import Answer, Operation
from tokenbalance.wire.client.forms import FormReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokenbalance.model import Document
    from tokenbalance.wire.client.forms.form import Stored

BOUNDARY = b"boundary-of-the-test"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY.decode()}"
SURFACE = Surface([
    Operation(
        "POST", "/files", FORM, "Upload a file", own_examples=NEW_CONVERSATION_EXAMPLES
    ),
    Operation(
        "GET",
        "/files/everything/content",
        READ,
        "The contents of a file",
        answer=Answer.BYTES,
        own_examples=NEW_CONVERSATION_EXAMPLES,
    ),
])  # fmt: skip
"""One file up, and one down."""


def text(name: str, value: str | bytes, *lines: str) -> bytes:
    """A part that is text, with more lines in its head."""
    return part(f'form-data; name="{name}"', value, *lines)


def file(name: str, value: str | bytes, filename: str = "a.txt", *lines: str) -> bytes:
    """A part that is a file."""
    return part(f'form-data; name="{name}"; filename="{filename}"', value, *lines)


def part(disposition: str, value: str | bytes = b"", *lines: str) -> bytes:
    """A part, without what is around it."""
    head = "".join(f"{line}\r\n" for line in (f"Content-Disposition: {disposition}", *lines))
    return head.encode() + b"\r\n" + (value if isinstance(value, bytes) else value.encode())


def form(*parts: bytes, boundary: bytes = BOUNDARY) -> bytes:
    """All of a form."""
    begun = b"".join(b"--%b\r\n%b\r\n" % (boundary, one) for one in parts)
    return begun + b"--%b--\r\n" % boundary


def read(pieces: Iterable[bytes]) -> tuple[Document, dict[str, tuple[Stored, ...]]]:
    """Read a form that arrives in these pieces."""
    reader = FormReader(BOUNDARY)
    for piece in pieces:
        reader.feed(piece)
    return reader.finish()
