"""Which headers pass between client and upstream: those that are named here, in either direction.

Whoever stands behind us may be steered by a header that we have never heard of, up to where the
operator's key is sent; and what the upstream tells of itself and of the operator's account is
nobody's business out front. So what is not named stays where it is. The operator may name more, but
nothing that carries credentials, frames a message, or makes another request of it.
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
"""Says which installations of tokenbalance a request has come through; it goes upstream always."""

REQUEST_HEADERS: Final = (
    "accept",
    "content-type",
    "openai-beta",
    "originator",  # Codex: which of its programs asks
    "session-id",  # Codex: the conversation, for the upstream's cache
    "thread-id",
    "traceparent",
    "tracestate",
    "user-agent",
    "version",  # Codex: its own
    "x-client-request-id",
    "x-codex-*",
    "x-openai-internal-codex-responses-lite",  # Codex: its tools are in the input
    "x-stainless-*",
)
RESPONSE_HEADERS: Final = (
    "accept-ranges",
    "allow",
    "cache-control",
    "content-disposition",  # what a file is called
    "content-encoding",  # of a body that could not be decoded here
    "content-language",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
    "openai-model",  # Codex: which model answered
    "openai-processing-ms",
    "openai-version",
    "retry-after",
    "retry-after-ms",
    "x-codex-turn-state",  # Codex: to be sent again with the next request of a turn
    "x-oai-request-id",
    "x-reasoning-included",  # Codex: how tokens were counted
    "x-request-id",
    "x-should-retry",
)
# Not among them: x-ratelimit-* and the other x-codex-* (figures of the shared key), location (of
# the upstream), set-cookie, www-authenticate, openai-organization, openai-project, server, via,
# alt-svc, cf-*, x-models-etag (of a list of models that is not ours).

_NEVER: Final = frozenset(
    {
        # RFC 9110 section 7.6.1: of one connection only.
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
        # Credentials, and on whose behalf they are used.
        "api-key",
        "authorization",
        "cookie",
        "openai-organization",
        "openai-project",
        "set-cookie",
        "www-authenticate",
        "x-api-key",
        # What some servers take for the request line.
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
    }
)
_NEVER_PREFIXES: Final = ("proxy-", "x-tokenbalance-")
_NEVER_UPSTREAM: Final = _NEVER | {
    "accept-encoding",  # identity is asked for, so that usage can be read
    "content-encoding",  # what was decoded here goes up plain
    "idempotency-key",  # two tenants' equal keys would share one answer
}
_NEVER_TO_CLIENT: Final = _NEVER | {"date", "server"}  # the server's own
_NAME: Final = re.compile(r"[a-z0-9.-]+\*?")


class PassingHeaders:
    """Which headers pass: those named above, and what the operator has named besides."""

    def __init__(self, request: Iterable[str] = (), response: Iterable[str] = ()) -> None:
        """Take further names, as `request_names` and `answer_names` have read them."""
        to_upstream = _Names((*REQUEST_HEADERS, *request, HOP_HEADER.decode()))
        to_client = _Names((*RESPONSE_HEADERS, *response))
        # The same dozen names come with every request.
        self.may_reach_upstream: Callable[[bytes], bool] = lru_cache(1024)(to_upstream.have)
        self._may_reach_client: Callable[[bytes], bool] = lru_cache(1024)(to_client.have)

    def for_upstream(self, received: Headers) -> Headers:
        """Choose the client's headers that the upstream may see."""
        passes, named = self.may_reach_upstream, _named_by_connection(received)
        return [field for field in received if passes(field[0]) and field[0] not in named]

    def for_client(self, received: Headers) -> Headers:
        """Choose the upstream's headers that the client may see; names are in lower case."""
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
    """Names in lower case, and prefixes with `*`."""

    names: tuple[str, ...]

    def have(self, name: bytes) -> bool:
        """Tell whether one is among them. To some servers `_` is `-`, so that none may have it."""
        shown = name.decode("latin-1")
        return "_" not in shown and any(
            shown.startswith(known[:-1]) if known.endswith("*") else shown == known
            for known in self.names
        )


def request_names(text: str) -> tuple[str, ...]:
    """Read names of headers, with commas between them, that are to go upstream.

    Raises:
        ValueError: one is no header, or may not.

    """
    return _checked(text, _NEVER_UPSTREAM)


def response_names(text: str) -> tuple[str, ...]:
    """Read names of headers, with commas between them, that are to reach the client.

    Raises:
        ValueError: one is no header, or may not.

    """
    return _checked(text, _NEVER_TO_CLIENT)


def _checked(text: str, never: frozenset[str]) -> tuple[str, ...]:
    names = tuple(part for part in (each.strip().lower() for each in text.split(",")) if part)
    for name in names:
        if not _NAME.fullmatch(name):
            msg = "must be names of headers, or beginnings with * (x-name, x-more-*)"
            raise ValueError(msg)
        opened = next((one for one in sorted(never) if _covers(name, one)), None)
        opened = opened or next((f"{one}*" for one in _NEVER_PREFIXES if _meets(name, one)), None)
        if opened is not None:
            msg = f"{name} would let {opened} pass, which never does"
            raise ValueError(msg)
    return names


def _covers(name: str, one: str) -> bool:
    return one.startswith(name[:-1]) if name.endswith("*") else one == name


def _meets(name: str, prefix: str) -> bool:
    is_open = name.endswith("*") and prefix.startswith(name[:-1])
    return is_open or name.startswith(prefix)


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
