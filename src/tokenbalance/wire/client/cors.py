"""Which web pages may call `/v1` from a browser, and how browsers are told (the CORS protocol).

A preflight carries no key, so it is answered before anybody is authenticated. Cookies are no part
of it: a page needs a key of its own, and what it may read is what every client is sent. It must
never decide what a request may do; a browser asks here before it sends one, others need not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokenbalance.wire.passing_headers import Headers

EVERY_ORIGIN: Final = "*"
MAX_AGE_S: Final = 7200
"""How long a browser may remember the answer to a preflight; none does so for longer."""

_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
# What pages send that is read here or dropped here, beside what goes upstream: to forbid it would
# only keep the request from being sent.
_TAKEN: Final = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"idempotency-key",
        b"openai-organization",
        b"openai-project",
        b"pragma",
        b"x-requested-with",
    }
)
_REFUSAL: Final = (
    b"x-tokenbalance-cors",
    b"this origin is not allowed; the operator may set TOKENBALANCE_CORS_ORIGINS",
)
_USUAL_PORTS: Final = {"http": 80, "https": 443}


class CrossOrigin:
    """What is told to browsers about pages of these origins."""

    def __init__(
        self, origins: Sequence[str] = (), may_send: Callable[[bytes], bool] = _TAKEN.__contains__
    ) -> None:
        """Take origins as `origins_of` has read them, and which headers go upstream."""
        self._origins: frozenset[bytes] = frozenset(origin.encode() for origin in origins)
        self._is_every: bool = EVERY_ORIGIN in origins
        self._may_send: Callable[[bytes], bool] = may_send
        self.is_open: bool = bool(origins)
        """Whether there is anything to tell."""

    def headers_for(self, received: Headers) -> Headers:
        """The headers of an answer, whatever it is."""
        if self._is_every:
            return _readable_by(b"*")
        origin = dict(received).get(b"origin", b"")
        readable = _readable_by(origin) if origin in self._origins else []
        return [(b"vary", b"origin"), *readable]

    def preflight(self, received: Headers) -> Headers:
        """The further headers of the answer to a preflight.

        One that allows nothing is a browser's no; for whoever looks for its reason, it has that.
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
    """Tell whether a browser asks what it may send."""
    if method != "OPTIONS":
        return False
    names = {name for name, _ in received}
    return {b"origin", b"access-control-request-method"} <= names


def origins_of(text: str) -> tuple[str, ...]:
    """Read origins with commas between them, in the form in which browsers send them; or `*`.

    Raises:
        ValueError: one of them is none.

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
