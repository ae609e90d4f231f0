"""Method and raw path to endpoint. Exact bytes decide: no decoding, no normalising, no case.

A path that a decoder would read as one of ours but that is spelled otherwise is unknown, so that
what is metered and what the upstream executes can never differ.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tokenbalance.endpoints.table import ENDPOINTS, NOT_ALLOWED
from tokenbalance.errors import EndpointNotAllowed, UnknownUrl

if TYPE_CHECKING:
    from tokenbalance.model import Endpoint

# What an id may be made of; `ft:gpt-4o:org::id` and `org/model` percent-encoded are such ids.
_SEGMENT: Final = rb"(?:[A-Za-z0-9_:.-]|%2F)+"
_METHODS: Final = frozenset({"GET", "POST", "DELETE"})
_SHOWN_CHARS: Final = 100


def _pattern(path: str) -> re.Pattern[bytes]:
    parts = re.split(r"\{\w+\}", path)
    return re.compile(_SEGMENT.join(re.escape(part.encode()) for part in parts))


_EXACT: Final = {
    (endpoint.method, endpoint.path.encode()): endpoint
    for endpoint in ENDPOINTS
    if "{" not in endpoint.path
}
_PATTERNS: Final = tuple(
    (endpoint.method, _pattern(endpoint.path), endpoint)
    for endpoint in ENDPOINTS
    if "{" in endpoint.path
)
_REFUSED: Final = tuple(
    re.compile(_pattern(path).pattern + rb"(?:/" + _SEGMENT + rb")*") for path in NOT_ALLOWED
)


def find_endpoint(method: str, path: bytes) -> Endpoint:
    """Find the endpoint of a raw path below `/v1`.

    Raises:
        UnknownUrl: nothing of that name is served.
        EndpointNotAllowed: OpenAI serves it, but not through a shared key.

    """
    endpoint = _EXACT.get((method, path))
    if endpoint is not None:
        return endpoint
    if b".." not in path:
        for known_method, pattern, candidate in _PATTERNS:
            if method == known_method and pattern.fullmatch(path):
                return candidate
    if b"/." not in path and method in _METHODS and any(p.fullmatch(path) for p in _REFUSED):
        raise EndpointNotAllowed(
            _message("this is not available through a shared key", method, path)
        )
    raise UnknownUrl(_message("this is not an endpoint of this server", method, path))


def _message(what: str, method: str, path: bytes) -> str:
    shown = path[:_SHOWN_CHARS].decode("ascii", "replace")
    printable = "".join(char if char.isprintable() else "?" for char in shown)
    return f"Invalid URL ({method} /v1{printable}): {what}."
