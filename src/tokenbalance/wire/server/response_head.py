"""The head of a response as bytes. No header may become two, whatever it was made from."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
_STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {_PHRASES.get(status, '')}".encode() for status in range(100, 600)
}


def write_head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write the head of a response, with the empty line that ends it.

    Raises:
        RuntimeError: a header has a line break or a NUL.

    """
    lines = [_STATUS_LINES[status], *map(b": ".join, headers), b"\r\n"]
    head = b"\r\n".join(lines)
    if not head.count(b"\n") == head.count(b"\r") == len(lines) or b"\0" in head:
        msg = "a header of the response has a line break or a NUL"
        raise RuntimeError(msg)
    return head
