"""What is refused in the head of a request, once llhttp has accepted its syntax. No I/O.

    size      a URL over 16 KiB, more than 256 fields, more than 64 KiB in all
    version   everything except 1.0 and 1.1
    Host      missing, repeated, or not an authority
    target    with a fragment, of another authority, CONNECT
    body      transfer codings other than one `chunked`; chunked in HTTP/1.0

Two parties that disagree on one of these can be played against each other (request smuggling).
Apart from the path in a target, this file must never look at what is asked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import httptools

from tokenbalance.errors import HeadTooLarge, InvalidRequest, MalformedTarget, UrlTooLong

if TYPE_CHECKING:
    Headers = list[tuple[bytes, bytes]]

HEAD_BYTES_MAX: Final = 64 * 1024
HEAD_FIELDS_MAX: Final = 256
URL_BYTES_MAX: Final = 16 * 1024

_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[\w.~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?")
_ABSOLUTE: Final = re.compile(rb"(?i)(https?)://([^/?]*)/")
_USUAL_PORT: Final = {b"http": b":80", b"https": b":443"}


def check_head(
    method: bytes, target: bytes, version: str, headers: Headers, received_bytes: int
) -> list[bytes]:
    """Check a whole head, except for its transfer codings.

    Args:
        method: as it was sent.
        target: as it was sent.
        version: "1.1", for example.
        headers: names in lower case.
        received_bytes: of the head and what came with it, at least.

    Returns:
        The names of the headers.

    Raises:
        UrlTooLong, HeadTooLarge: it is over a limit.
        InvalidRequest: its version or its Host is not accepted.
        MalformedTarget: its target is not a path on this server.

    """
    if len(target) > URL_BYTES_MAX:
        raise url_too_long()
    if len(headers) > HEAD_FIELDS_MAX:
        raise HeadTooLarge(f"The request has more than {HEAD_FIELDS_MAX} headers.")
    if received_bytes > HEAD_BYTES_MAX and size_of_head(target, headers) > HEAD_BYTES_MAX:
        raise head_too_large()
    if version not in {"1.1", "1.0"}:
        raise InvalidRequest("Only HTTP/1.1 and HTTP/1.0 are supported.")
    names = [name for name, _ in headers]
    host = _check_host(names, headers, version)
    _check_target(method, target, host)
    return names


def check_codings(version: str, headers: Headers) -> None:
    """Raise when a body is not sent in plain chunks although its length is not given.

    Raises:
        InvalidRequest: another coding, several, or HTTP/1.0, which has none.

    """
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if version != "1.1" or len(codings) != 1 or codings[0].strip().lower() != b"chunked":
        raise InvalidRequest("The only transfer coding accepted is one `chunked`, in HTTP/1.1.")


def size_of_head(target: bytes, headers: Headers) -> int:
    """Bytes of the head, at least: white space around values is not counted."""
    fields = sum(len(name) + len(value) + 4 for name, value in headers)
    return len(target) + len(" HTTP/1.1\r\n\r\n") + fields


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """The raw path and the raw query of a target that was checked."""
    if target.startswith(b"/"):
        path, _, query = target.partition(b"?")
        return path, query
    url = httptools.parse_url(target)
    return url.path, url.query or b""


def decode_path(raw_path: bytes) -> str:
    """The path as ASGI has it, percent-decoded."""
    path = raw_path.decode("ascii")
    return unquote(path) if "%" in path else path


def expects_continue(headers: Headers) -> bool:
    """Whether the client waits for a `100 Continue` before it sends the body."""
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)


def without_upgrade(connection: bytes) -> bytes:
    """Remove from a `Connection` field what makes its request one that asks to upgrade."""
    tokens = [token.strip() for token in connection.split(b",")]
    return b", ".join(token for token in tokens if token.lower() != b"upgrade")


def head_too_large() -> HeadTooLarge:
    """The head is over its limit in bytes."""
    return HeadTooLarge(f"The headers are larger than {HEAD_BYTES_MAX} bytes.")


def url_too_long() -> UrlTooLong:
    """The target is over its limit."""
    return UrlTooLong(f"The URL is longer than {URL_BYTES_MAX} bytes.")


def _check_host(names: list[bytes], headers: Headers, version: str) -> bytes | None:
    count = names.count(b"host")
    if count == 0 and version == "1.0":
        return None
    if count != 1:
        raise InvalidRequest("A request needs exactly one Host header.")
    host = headers[names.index(b"host")][1]
    if not _HOST.fullmatch(host):
        raise InvalidRequest("The Host header is not a host.")
    return host


def _check_target(method: bytes, target: bytes, host: bytes | None) -> None:
    if b"#" in target or not target.isascii():
        raise MalformedTarget("The request target is not a valid path.")
    if target.startswith(b"/"):
        return
    if method == b"CONNECT":
        raise MalformedTarget("CONNECT is not supported: this server is not a tunnel.")
    # RFC 9112 section 3.2.2: a server must accept `GET http://host/path`, if it is that host.
    absolute = _ABSOLUTE.match(target)
    usual = _USUAL_PORT[absolute[1].lower()] if absolute else b""
    is_ours = (
        absolute
        and host
        and absolute[2].lower().removesuffix(usual) == host.lower().removesuffix(usual)
    )
    if target != b"*" and not is_ours:
        raise MalformedTarget("The request target names another server than the Host header.")
