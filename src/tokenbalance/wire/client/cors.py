"""Which web pages may call `/v1` from a browser (CORS).

A preflight carries no key, so it gets its response before authentication. Cookies play no part: a
page needs an API key of its own, and may read what every client is sent. This file must never
decide what a request may do: only browsers send a preflight first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokenbalance.wire.passing_headers import Headers

EVERY_ORIGIN: Final = "*"
MAX_AGE_S: Final = 7200
"""How long a browser may cache the response to a preflight; none caches it for longer."""

_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
# Headers that are read or dropped here, in addition to those that go upstream. Refusing them would
# only prevent the request.
_TAKEN: Final = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-type",
        b"idempotency-key",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"openai-organization",
        b"openai-project",
        b"pragma",
        b"range",
        b"x-requested-with",
    }
)
_REFUSAL: Final = (
    b"x-tokenbalance-cors",
    b"this origin is not allowed; the operator may set TOKENBALANCE_CORS_ORIGINS",
)
_USUAL_PORTS: Final = {"http": 80, "https": 443}


class CrossOrigin:
    """The CORS headers for pages of these origins."""

    def __init__(
        self, origins: Sequence[str] = (), may_send: Callable[[bytes], bool] = _TAKEN.__contains__
    ) -> None:
        """Take origins as `origins_of` returns them, and a test for headers that go upstream."""
        self._origins: frozenset[bytes] = frozenset(origin.encode() for origin in origins)
        self._is_every: bool = EVERY_ORIGIN in origins
        self._may_send: Callable[[bytes], bool] = may_send
        self.is_open: bool = bool(origins)
        """Whether any origin is allowed."""

    def headers_for(self, received: Headers) -> Headers:
        """The headers of any response."""
        if self._is_every:
            return _readable_by(b"*")
        origin = dict(received).get(b"origin", b"")
        readable = _readable_by(origin) if origin in self._origins else []
        return [(b"vary", b"origin"), *readable]

    def preflight(self, received: Headers) -> Headers:
        """The further headers of the response to a preflight.

        A response that allows nothing is a refusal to the browser; one header says why.
        """
        fields = dict(received)
        if not self._is_every and fields.get(b"origin") not in self._origins:
            return [_REFUSAL]
        asked = fields.get(b"access-control-request-headers", b"").lower().split(b",")
        names = [name for name in map(bytes.strip, asked) if name in _TAKEN or self._may_send(name)]
        return [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", b", ".join(names)),
            (b"access-control-max-age", b"%d" % MAX_AGE_S),
        ]


def _readable_by(origin: bytes) -> Headers:
    return [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", b"*")]


def is_preflight(method: str, received: Headers) -> bool:
    """Whether this is a preflight: a browser asking what it may send."""
    if method != "OPTIONS":
        return False
    names = {name for name, _ in received}
    return {b"origin", b"access-control-request-method"} <= names


def origins_of(text: str) -> tuple[str, ...]:
    """Read comma-separated origins, normalised to what browsers send; or `*`.

    Raises:
        ValueError: one of them is not an origin.

    """
    return tuple(_origin(part.strip()) for part in text.split(",") if part.strip())


def _origin(text: str) -> str:
    if text in {EVERY_ORIGIN, "null"}:
        return text
    msg = "must be * or origins such as https://app.example, without a path"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(msg) from None
    is_bare = parts.path in {"", "/"} and not (parts.query or parts.fragment or "@" in parts.netloc)
    if not (parts.scheme and host and is_bare and text.isascii() and text.isprintable()):
        raise ValueError(msg)
    shown = f"[{host}]" if ":" in host else host
    if port is not None and port != _USUAL_PORTS.get(parts.scheme):
        shown = f"{shown}:{port}"
    return f"{parts.scheme}://{shown}"
