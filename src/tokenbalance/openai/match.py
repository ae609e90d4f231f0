"""Method and raw path to operation. Exact bytes decide: no decoding, no normalising, no case.

A path that a decoder would read as one of ours but that is spelled differently is unknown, so that
what is metered and what the upstream executes can never differ. The same goes for the one part of
a query that makes another operation of a path, `beta=true`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from tokenbalance.errors import EndpointNotAllowed, InvalidValue, UnknownUrl
from tokenbalance.openai.closed import CLOSED, OF_ONE_ALONE
from tokenbalance.openai.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenbalance.openai.operation import Operation

# What an id may be made of; `ft:gpt-4o:org::id` and `org/model` percent-encoded are such ids.
_SEGMENT: Final = rb"(?:[A-Za-z0-9_:.-]|%2F)+"
_SOCKET: Final = "SOCKET"
_BETA: Final = b"beta=true"
_TWIN: Final = "?" + _BETA.decode()
_SHOWN_CHARS: Final = 100


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


_CLOSED: Final = tuple(
    _Closed(_pattern(path), frozenset(methods), reason)
    for reason, lines in CLOSED.items()
    for *methods, path in filter(None, map(str.split, lines.split("\n")))
)
# A path that is passed on although it is not known: plain, so that it cannot be read in two ways.
_NEW_PATH: Final = re.compile(rb"(?:/[A-Za-z0-9][A-Za-z0-9_-]*){1,8}")
# Wrong beginnings of a path, from base URLs meant for another server or with a prefix twice.
_ASTRAY: Final = re.compile(rb"(?:/+(?:v1|api|openai)(?=/))*/+")


def _require_examples(operations: Sequence[Operation]) -> None:
    for one in operations:
        if one.examples is None:
            msg = f"{one.method} {one.path} has no examples: its row needs `own_examples`."
            raise ValueError(msg)


def _has_dots(path: bytes) -> bool:
    """Whether a path has segments that somebody on the way might leave out."""
    return b"/." in path or b".." in path


def _subject(path: bytes) -> bytes:
    """The first segment of a path."""
    return path[1:].partition(b"/")[0]


_CLOSED_SUBJECTS: Final = frozenset(
    _subject(line.split()[-1].encode())
    for reason, lines in CLOSED.items()
    if reason not in OF_ONE_ALONE
    for line in lines.split("\n")
    if line
)
"""First segments of paths below which nothing that is not known is passed on."""


class Surface:
    """The operations that are open, and how a request finds its own among them."""

    __slots__ = (
        "_beside", "_exact", "_patterns", "_twins", "_unknown", "described", "operations",
    )  # fmt: skip

    def __init__(self, operations: Sequence[Operation], unknown: Operation | None = None) -> None:
        """Take the rows of the table.

        Args:
            operations: the rows.
            unknown: stands for all operations that OpenAI may have and that are not known here;
                None: they are refused.

        Raises:
            ValueError: a row has no examples, neither its own nor its family's.

        """
        self.operations = tuple(operations)
        self._unknown = unknown
        _require_examples(self.operations)
        self.described = tuple(one for one in self.operations if "?" not in one.path)
        """What documents list: OpenAPI knows a path without its query, so of twins only one."""
        self._exact = {
            (method, one.path.encode()): one
            for one in self.described
            if "{" not in one.path
            for method in ((one.method, "HEAD") if one.method == "GET" else (one.method,))
        }
        self._patterns = tuple(
            (one.method, _pattern(one.path), one) for one in self.described if "{" in one.path
        )
        named = {(one.method, one.path): one for one in self.operations}
        self._twins = {
            one: named[one.method, f"{one.path}?{_BETA.decode()}"]
            for one in self.described
            if (one.method, f"{one.path}?{_BETA.decode()}") in named
        }
        self._beside: dict[bytes, list[str]] = {}
        for one in self.described:
            shown = f"{one.method} /v1{one.path}"
            self._beside.setdefault(_subject(one.path.encode()), []).append(shown)

    def find(self, method: str, path: bytes, query: bytes = b"") -> Operation:
        """Find the operation of a raw path below `/v1`; `HEAD` is served wherever `GET` is.

        Raises:
            UnknownUrl: there is no such operation.
            EndpointNotAllowed: OpenAI has it, but it is not available through a shared key.
            InvalidValue: the query contains a `beta` that can be read in two ways.

        """
        operation = self._exact.get((method, path))
        if operation is not None:
            return self._twin_of(operation, query) if query else operation
        if not _has_dots(path):
            wanted = "GET" if method == "HEAD" else method
            for known_method, pattern, candidate in self._patterns:
                if wanted == known_method and pattern.fullmatch(path):
                    return self._twin_of(candidate, query) if query else candidate
        if self._unknown is not None and method == "POST" and self._may_be_new(path):
            return self._unknown
        raise self._refusal(method, path)

    def _may_be_new(self, path: bytes) -> bool:
        """Whether a path may be one of OpenAI's that is not known here, and no other spelling."""
        return (
            _NEW_PATH.fullmatch(path) is not None
            and _subject(path) not in _CLOSED_SUBJECTS
            and not self._methods_at(path.lower())
            and self.meant_path(path.lower()) is None
        )

    def meant_path(self, path: bytes) -> str | None:
        """Guess the intended path of an unknown one: usually `/v1` is missing, or there twice."""
        start = _ASTRAY.match(path)
        below = b"/" + path[start.end() :].rstrip(b"/") if start else b""
        return f"/v1{below.decode()}" if self._methods_at(below) else None

    def _twin_of(self, operation: Operation, query: bytes) -> Operation:
        twin = self._twins.get(operation)
        if twin is None:
            return operation
        spelled = query.split(b"&").count(_BETA)
        # However often it may be decoded, and wherever it may be cut.
        decoded = unquote_to_bytes(unquote_to_bytes(query))
        names = [part.partition(b"=")[0].lower() for part in re.split(rb"[&;?]", decoded)]
        understood = sum(re.sub(rb"[^\w-]", b"", name) == b"beta" for name in names)
        if spelled != understood or spelled > 1:
            msg = "Invalid 'beta': write exactly `beta=true`, once, or leave it out."
            raise InvalidValue(msg, param="beta")
        return twin if spelled else operation

    def _refusal(self, method: str, path: bytes) -> UnknownUrl | EndpointNotAllowed:
        spelled = f"Invalid URL ({method} /v1{_shown(path)}): "
        reason = _reason_at(method, path)
        if reason is not None:
            return EndpointNotAllowed(
                f"{spelled}OpenAI has this, but {reason}. {self._open_beside(path)}"
            )
        others = self._methods_at(path)
        if others:
            allowed = " and ".join(sorted(others))
            return UnknownUrl(f"{spelled}this path only accepts {allowed}.")
        meant = self.meant_path(path)
        hint = f" Did you mean {meant}?" if meant is not None else ""
        return UnknownUrl(f"{spelled}this is not an endpoint of this server.{hint}")

    def _open_beside(self, path: bytes) -> str:
        """Say what is open of the subject of a path, or where to look for what is open."""
        beside = self._beside.get(_subject(path))
        if beside is None:
            return "The page /docs lists what is open."
        return f"Open here: {', '.join(beside)}."

    def _methods_at(self, path: bytes) -> set[str]:
        """Return all methods that OpenAI has on a path, open or closed."""
        if _has_dots(path):
            return set()
        is_open = [method for method, known in self._exact if known == path and method != "HEAD"]
        is_open += [method for method, pattern, _ in self._patterns if pattern.fullmatch(path)]
        is_closed = [method for one in _closed_at(path) for method in one.methods]
        return {"GET" if method == _SOCKET else method for method in is_open + is_closed}


SURFACE: Final = Surface(OPERATIONS)
"""What this product serves."""
find_operation: Final = SURFACE.find
meant_path: Final = SURFACE.meant_path


def is_socket(path: bytes) -> bool:
    """Whether OpenAI serves WebSockets on a raw path below `/v1`."""
    return any(_SOCKET in closed.methods and closed.pattern.fullmatch(path) for closed in _CLOSED)


def _reason_at(method: str, path: bytes) -> str | None:
    """Why OpenAI's operation of a path is closed; None if it has no such operation."""
    return next((one.reason for one in _closed_at(path) if one.has(method)), None)


def _closed_at(path: bytes) -> list[_Closed]:
    if _has_dots(path):
        return []
    return [one for one in _CLOSED if one.pattern.fullmatch(path)]


def _shown(path: bytes) -> str:
    shown = path[:_SHOWN_CHARS].decode("ascii", "replace")
    return "".join(char if char.isprintable() else "?" for char in shown)
