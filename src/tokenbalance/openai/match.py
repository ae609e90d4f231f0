"""Method and raw path to endpoint. Exact bytes decide: no decoding, no normalising, no case.

A path that a decoder would read as one of ours but that is spelled otherwise is unknown, so that
what is metered and what the upstream executes can never differ. The same goes for the one part of
a query that makes another operation of a path, `beta=true`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from tokenbalance.errors import EndpointNotAllowed, InvalidValue, UnknownUrl
from tokenbalance.openai.closed import CLOSED
from tokenbalance.openai.operations import DESCRIBED, OPERATIONS

if TYPE_CHECKING:
    from tokenbalance.openai.operation import Operation

# What an id may be made of; `ft:gpt-4o:org::id` and `org/model` percent-encoded are such ids.
_SEGMENT: Final = rb"(?:[A-Za-z0-9_:.-]|%2F)+"
_SOCKET: Final = "SOCKET"
_BETA: Final = b"beta=true"
_SHOWN_CHARS: Final = 100
_OPEN: Final = ", ".join(f"{one.method} /v1{one.path}" for one in DESCRIBED)


class _Closed(NamedTuple):
    pattern: re.Pattern[bytes]
    methods: frozenset[str]
    """A socket's is `SOCKET`, which is a `GET`."""
    reason: str

    def has(self, method: str) -> bool:
        return method in self.methods or (method == "GET" and _SOCKET in self.methods)


def _pattern(path: str) -> re.Pattern[bytes]:
    parts = re.split(r"\{\w+\}", path)
    return re.compile(_SEGMENT.join(re.escape(part.encode()) for part in parts))


_EXACT: Final = {
    (method, endpoint.path.encode()): endpoint
    for endpoint in OPERATIONS
    if "{" not in endpoint.path
    for method in ((endpoint.method, "HEAD") if endpoint.method == "GET" else (endpoint.method,))
}
_PATTERNS: Final = tuple(
    (endpoint.method, _pattern(endpoint.path), endpoint)
    for endpoint in OPERATIONS
    if "{" in endpoint.path
)
_TWINS: Final = {
    (method, path.removesuffix(b"?" + _BETA)): endpoint
    for (method, path), endpoint in _EXACT.items()
    if path.endswith(b"?" + _BETA)
}
_CLOSED: Final = tuple(
    _Closed(_pattern(path), frozenset(methods), reason)
    for reason, lines in CLOSED.items()
    for *methods, path in filter(None, map(str.split, lines.split("\n")))
)
# What base URLs have before a path that are written for another server, or have it twice.
_ASTRAY: Final = re.compile(rb"(?:/+(?:v1|api|openai)(?=/))*/+")


def find_operation(method: str, path: bytes, query: bytes = b"") -> Operation:
    """Find the endpoint of a raw path below `/v1`; `HEAD` has those of `GET`.

    Raises:
        UnknownUrl: nothing of that name is served.
        EndpointNotAllowed: OpenAI serves it, but not through a shared key.
        InvalidValue: the query says `beta` in a way that may be read in two.

    """
    endpoint = _EXACT.get((method, path))
    if endpoint is not None:
        return _twin_of(endpoint, method, path, query) if query else endpoint
    if b".." not in path:
        asked = "GET" if method == "HEAD" else method
        for known_method, pattern, candidate in _PATTERNS:
            if asked == known_method and pattern.fullmatch(path):
                return candidate
    raise _refusal(method, path)


def is_socket(path: bytes) -> bool:
    """Tell whether OpenAI serves WebSockets on a raw path below `/v1`."""
    return any(_SOCKET in closed.methods and closed.pattern.fullmatch(path) for closed in _CLOSED)


def meant_path(path: bytes) -> str | None:
    """Guess what was meant by a path that is none: the same with one `/v1` before it, as often."""
    start = _ASTRAY.match(path)
    below = b"/" + path[start.end() :].rstrip(b"/") if start else b""
    return f"/v1{below.decode()}" if _methods_at(below) else None


def _twin_of(endpoint: Operation, method: str, path: bytes, query: bytes) -> Operation:
    twin = _TWINS.get((method, path))
    if twin is None:
        return endpoint
    said = query.split(b"&").count(_BETA)
    # However often it may be decoded, and wherever it may be cut.
    decoded = unquote_to_bytes(unquote_to_bytes(query))
    names = [part.partition(b"=")[0].lower() for part in re.split(rb"[&;?]", decoded)]
    understood = sum(re.sub(rb"[^\w-]", b"", name) == b"beta" for name in names)
    if said != understood or said > 1:
        msg = "Invalid 'beta': it has to be `beta=true`, spelled like that and once, or left out."
        raise InvalidValue(msg, param="beta")
    return twin if said else endpoint


def _refusal(method: str, path: bytes) -> UnknownUrl | EndpointNotAllowed:
    spelled = f"Invalid URL ({method} /v1{_shown(path)}): "
    reason = _reason_at(method, path)
    if reason is not None:
        return EndpointNotAllowed(f"{spelled}OpenAI has this, but {reason}. Open here: {_OPEN}.")
    others = _methods_at(path)
    if others:
        return UnknownUrl(f"{spelled}there is {' and '.join(sorted(others))} on this path only.")
    meant = meant_path(path)
    hint = f" Did you mean {meant}?" if meant is not None else ""
    return UnknownUrl(f"{spelled}this is not an endpoint of this server.{hint}")


def _reason_at(method: str, path: bytes) -> str | None:
    """Why OpenAI's operation of a path is closed; None where it has none."""
    return next((one.reason for one in _closed_at(path) if one.has(method)), None)


def _methods_at(path: bytes) -> set[str]:
    """All that OpenAI has on a path, open or closed."""
    is_open = [method for method, known in _EXACT if known == path and method != "HEAD"]
    is_open += [method for method, pattern, _ in _PATTERNS if pattern.fullmatch(path)]
    is_closed = [method for one in _closed_at(path) for method in one.methods]
    return {"GET" if method == _SOCKET else method for method in is_open + is_closed}


def _closed_at(path: bytes) -> list[_Closed]:
    if b"/." in path or b".." in path:
        return []
    return [one for one in _CLOSED if one.pattern.fullmatch(path)]


def _shown(path: bytes) -> str:
    shown = path[:_SHOWN_CHARS].decode("ascii", "replace")
    return "".join(char if char.isprintable() else "?" for char in shown)
