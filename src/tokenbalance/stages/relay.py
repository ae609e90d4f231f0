"""What passes between client and upstream: which headers.

End-to-end headers go through. What identifies the operator stays with the operator, what
authenticates the client stays here (RFC 9110 section 7.6.1 for the hop-by-hop ones).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

Headers = list[tuple[bytes, bytes]]

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_NOT_UPSTREAM: Final = _HOP_BY_HOP | {
    b"accept-encoding",  # identity is asked for, so that usage can be read
    b"api-key",
    b"authorization",
    b"content-length",  # of the body that is sent
    b"cookie",
    b"expect",
    b"forwarded",
    b"host",
    b"http2-settings",
    b"idempotency-key",  # two tenants' equal keys would share one answer
    b"openai-organization",
    b"openai-project",
    b"via",
    b"x-api-key",
    b"x-http-method",
    b"x-http-method-override",
    b"x-method-override",
    b"x-original-url",
    b"x-real-ip",
    b"x-rewrite-url",
}
_NOT_UPSTREAM_PREFIXES: Final = (b"x-forwarded-", b"x-tokenbalance-", b"proxy-", b"sec-", b"cf-")
_NOT_CLIENT: Final = _HOP_BY_HOP | {
    b"alt-svc",  # speaks of the upstream's host, not of ours
    b"content-length",  # set again where the length is known
    b"date",
    b"openai-organization",
    b"openai-project",
    b"server",
    b"set-cookie",
    b"strict-transport-security",
}
_NOT_CLIENT_PREFIXES: Final = (b"x-ratelimit-", b"x-tokenbalance-")


def headers_for_upstream(received: Headers) -> Headers:
    """Choose the client's headers that the upstream may see."""
    named = _named_by_connection(received)
    return [
        (name, value) for name, value in received if _may_reach_upstream(name) and name not in named
    ]


def headers_for_client(received: Headers) -> Headers:
    """Choose the upstream's headers that the client may see; names are in lower case."""
    named = _named_by_connection(received)
    return [
        (name, value)
        for name, value in received
        if _may_reach_client(name)
        and name not in named
        and value.isascii()
        and value.decode().isprintable()
    ]


# The same dozen names come with every request.
@lru_cache(maxsize=1024)
def _may_reach_upstream(name: bytes) -> bool:
    return name not in _NOT_UPSTREAM and not name.startswith(_NOT_UPSTREAM_PREFIXES)


@lru_cache(maxsize=1024)
def _may_reach_client(name: bytes) -> bool:
    return name not in _NOT_CLIENT and not name.startswith(_NOT_CLIENT_PREFIXES)


def _named_by_connection(headers: Headers) -> frozenset[bytes]:
    """Headers that `Connection` declares hop-by-hop, as RFC 9110 section 7.6.1 lets it."""
    return frozenset(
        [
            token.strip().lower()
            for name, value in headers
            if name == b"connection"
            for token in value.split(b",")
        ]
    )


def is_event_stream(headers: Headers) -> bool:
    """Tell whether an answer is a stream of server-sent events."""
    return any(
        name == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in headers
    )
