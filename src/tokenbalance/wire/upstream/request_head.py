"""The head of a request as bytes: the lines common to all, computed once, and its own.

It must never let a value end its line: a client could then write requests of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.wire.upstream.dialing import USUAL_PORTS
from tokenbalance.wire.upstream.faults import unreachable

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from tokenbalance.wire.upstream.client import Headers

_HAS_LENGTH: Final = frozenset({"POST", "PUT", "PATCH"})
"""These have a content-length even without a body (RFC 9110 section 8.6)."""


class RequestHeads:
    """Writes heads of requests to one upstream."""

    def __init__(self, base_url: SplitResult, own_headers: Headers) -> None:
        self._prefix: str = base_url.path
        own_lines = b"".join(b"%b: %b\r\n" % field for field in own_headers)
        self._after_target: bytes = b" HTTP/1.1\r\nhost: %b\r\n%b" % (_host(base_url), own_lines)
        self._own_line_ends: int = self._after_target.count(b"\r\n") + 1

    def write(self, method: str, target: str, headers: Headers, body_bytes: int) -> bytes:
        """Write the head of one request.

        Raises:
            UpstreamUnavailable: a value in it would end its line.

        """
        lines = [b"%b: %b\r\n" % field for field in headers]
        if body_bytes or method in _HAS_LENGTH:
            lines.append(b"content-length: %d\r\n" % body_bytes)
        start = f"{method} {self._prefix}{target}".encode()
        head = b"".join([start, self._after_target, *lines, b"\r\n"])
        line_ends = self._own_line_ends + len(lines)
        if (
            head.count(b"\n") != line_ends
            or head.count(b"\r") != line_ends
            or start.count(b" ") != 1
            or not start.isascii()
        ):
            raise unreachable()
        return head


def _host(base_url: SplitResult) -> bytes:
    name = base_url.hostname or ""
    host = (
        f"[{name}]".encode() if ":" in name else name.encode("ascii" if name.isascii() else "idna")
    )
    is_usual = base_url.port in {None, USUAL_PORTS[base_url.scheme]}
    return host if is_usual else host + b":%d" % (base_url.port or 0)
