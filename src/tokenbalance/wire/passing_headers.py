"""Which headers pass between client and upstream: only those named here, in either direction.

An unknown header could steer servers behind us, even to where the operator's key is sent; and what
the upstream says about itself and the operator's account is not for clients. So a header that is
not named does not pass. The operator may name more, except those that carry credentials, frame a
message, or turn it into another request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Headers = list[tuple[bytes, bytes]]

HOP_HEADER: Final = b"x-tokenbalance-hop"
"""Names the installations of tokenbalance that a request has passed; always sent upstream."""

REQUEST_HEADERS: Final = (
    "accept",
    "openai-beta",
    "originator",  # Codex: which of its programs is calling
    "session-id",  # Codex: the conversation, for the upstream's cache
    "thread-id",
    "traceparent",
    "tracestate",
    "user-agent",
    "version",  # Codex: its version
    "x-client-request-id",
    "x-codex-*",
    "x-openai-internal-codex-responses-lite",  # Codex: its tools are in the input
    "x-stainless-*",
)
RESPONSE_HEADERS: Final = (
    "accept-ranges",
    "allow",
    "cache-control",
    "content-disposition",  # the name of a file
    "content-encoding",  # of a body that could not be decoded here
    "content-language",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
    "openai-model",  # Codex: which model was used
    "openai-processing-ms",
    "openai-version",
    "retry-after",
    "retry-after-ms",
    "x-codex-turn-state",  # Codex: sent back with the next request of a turn
    "x-oai-request-id",
    "x-reasoning-included",  # Codex: how tokens were counted
    "x-request-id",
    "x-should-retry",
)
_OF_PARTS: Final = frozenset({b"if-modified-since", b"if-none-match", b"if-range", b"range"})
"""Headers of requests for a part of a file, or for one that has changed."""
# Left out on purpose: x-ratelimit-* and the other x-codex-* (figures of the shared key), location
# (of the upstream), set-cookie, www-authenticate, openai-organization, openai-project, server, via,
# alt-svc, cf-*, x-models-etag (of a list of models that is not ours).

_NEVER: Final = frozenset(
    {
        # RFC 9110 section 7.6.1: for one connection only.
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        # Framing.
        "content-length",
        "expect",
        "host",
        "http2-settings",
        # Credentials, and the organization and project they are used for.
        "api-key",
        "authorization",
        "cookie",
        "openai-organization",
        "openai-project",
        "set-cookie",
        "www-authenticate",
        "x-api-key",
        # Some servers let these override the request line.
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
    }
)
_NEVER_PREFIXES: Final = ("proxy-", "x-tokenbalance-")
_NEVER_UPSTREAM: Final = _NEVER | {
    "accept-encoding",  # identity is requested, so that usage can be read
    "content-encoding",  # a body decoded here goes upstream plain
    "content-type",  # the type that was checked is sent, not the client's spelling of it
    "idempotency-key",  # equal keys of two users would share one response
}
_NEVER_TO_CLIENT: Final = _NEVER | {"date", "server"}  # the server's own
_NAME: Final = re.compile(r"[a-z0-9.-]+\*?")
_NOTHING: Final = frozenset[bytes]()


class PassingHeaders:
    """The headers that pass: those named above, and those that the operator has added."""

    def __init__(self, request: Iterable[str] = (), response: Iterable[str] = ()) -> None:
        """Take further names, as `request_names` and `response_names` return them."""
        to_upstream = _Names((*REQUEST_HEADERS, *request, HOP_HEADER.decode()))
        to_client = _Names((*RESPONSE_HEADERS, *response))
        # Every request has the same dozen names.
        self.may_reach_upstream: Callable[[bytes], bool] = lru_cache(1024)(to_upstream.have)
        self._may_reach_client: Callable[[bytes], bool] = lru_cache(1024)(to_client.have)

    def for_upstream(
        self, received: Headers, content_type: bytes | None = None, *, in_part: bool = False
    ) -> Headers:
        """Pick the client's headers that the upstream may see.

        Args:
            received: as the client sent them.
            content_type: the media type that the body was checked for, sent as it is written here:
                a client's own parameters could let the upstream read other text than was metered.
            in_part: the response may be a part of a file, or say that it has not changed.

        """
        passes, named = self.may_reach_upstream, _named_by_connection(received)
        headers = [field for field in received if passes(field[0]) and field[0] not in named]
        if in_part:
            headers += [field for field in received if field[0] in _OF_PARTS - named]
        if content_type is not None:
            headers.append((b"content-type", content_type))
        return headers

    def for_client(self, received: Headers) -> Headers:
        """Pick the upstream's headers that the client may see; names are in lower case."""
        passes, named = self._may_reach_client, _named_by_connection(received)
        return [
            (name, value)
            for name, value in received
            if passes(name)
            and name not in named
            and value.isascii()
            and value.decode().isprintable()
        ]


@dataclass(frozen=True, slots=True)
class _Names:
    """Names in lower case; a prefix ends in `*`."""

    names: tuple[str, ...]

    def have(self, name: bytes) -> bool:
        """Whether a name is among them. One with `_` never is: some servers take it for `-`."""
        shown = name.decode("latin-1")
        return "_" not in shown and any(
            shown.startswith(known[:-1]) if known.endswith("*") else shown == known
            for known in self.names
        )


def request_names(text: str) -> tuple[str, ...]:
    """Read comma-separated names of headers that are to go upstream.

    Raises:
        ValueError: one is not a header name, or must not pass.

    """
    return _checked(text, _NEVER_UPSTREAM)


def response_names(text: str) -> tuple[str, ...]:
    """Read comma-separated names of headers that are to reach the client.

    Raises:
        ValueError: one is not a header name, or must not pass.

    """
    return _checked(text, _NEVER_TO_CLIENT)


def _checked(text: str, never: frozenset[str]) -> tuple[str, ...]:
    names = tuple(part for part in (each.strip().lower() for each in text.split(",")) if part)
    for name in names:
        if not _NAME.fullmatch(name):
            msg = "must be names of headers, or prefixes with * (x-name, x-more-*)"
            raise ValueError(msg)
        opened = next((one for one in sorted(never) if _covers(name, one)), None)
        opened = opened or next((f"{one}*" for one in _NEVER_PREFIXES if _meets(name, one)), None)
        if opened is not None:
            msg = f"{name} would let {opened} pass, which is not allowed"
            raise ValueError(msg)
    return names


def _covers(name: str, one: str) -> bool:
    return one.startswith(name[:-1]) if name.endswith("*") else one == name


def _meets(name: str, prefix: str) -> bool:
    is_open = name.endswith("*") and prefix.startswith(name[:-1])
    return is_open or name.startswith(prefix)


def _named_by_connection(headers: Headers) -> frozenset[bytes]:
    """Headers that `Connection` declares as hop-by-hop (RFC 9110 section 7.6.1)."""
    declared = [value for name, value in headers if name == b"connection"]
    if not declared:
        return _NOTHING
    return frozenset(token.strip().lower() for value in declared for token in value.split(b","))
