"""Asks the upstream for its lists of objects, for commands. The key must never be in an error."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple, TypeGuard, cast
from urllib.parse import quote

import orjson

from tokenbalance.errors import ProxyError
from tokenbalance.wire.upstream import UpstreamBroke, open_upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tokenbalance.settings import Settings
    from tokenbalance.wire.upstream import Upstream

LISTS: Final = {
    "batch": "/batches",
    "container": "/containers",
    "file": "/files",
    "vector_store": "/vector_stores",
}
"""Where the upstream lists all objects of a kind."""
_TIMEOUT_S: Final = 60.0
"""Of one page."""
_PAGES_MAX: Final = 10_000
_ROWS: Final = 100
_OK: Final = 200


class NoObjects(Exception):
    """The upstream's objects are not known; the message says why."""


class Listed(NamedTuple):
    """An object in a list of the upstream."""

    kind: str
    id: str
    bytes: int | None


async def objects_of_upstream(settings: Settings, kinds: Iterable[str]) -> list[Listed]:
    """Read the upstream's whole lists of some kinds.

    Raises:
        NoObjects: there is no key, no response, or one that is no list.

    """
    address = settings.upstream_address()
    if address is None:
        raise NoObjects("OPENAI_API_KEY is not set")
    try:
        async with open_upstream(address) as upstream:
            return [row for kind in kinds async for row in _rows(upstream, kind)]
    except (TimeoutError, UpstreamBroke):
        raise NoObjects("the upstream did not send its list of objects") from None
    except ProxyError as error:
        raise NoObjects(f"the upstream cannot be asked ({error.code})") from None


async def _rows(upstream: Upstream, kind: str) -> AsyncIterator[Listed]:
    after = ""
    for _ in range(_PAGES_MAX):
        page = await _page(upstream, f"{LISTS[kind]}?limit={_ROWS}{after}")
        rows = page.get("data")
        if not isinstance(rows, list):
            raise NoObjects(f"the upstream's response to GET {LISTS[kind]} is no list")
        last: str | None = None
        for row in cast("list[object]", rows):
            if _is_object(row) and isinstance(name := row.get("id"), str):
                size = row.get("bytes", row.get("usage_bytes"))
                yield Listed(kind, name, size if isinstance(size, int) else None)
                last = name
        if last is None or page.get("has_more") is not True:
            return
        after = f"&after={quote(last, safe='')}"
    raise NoObjects(f"the upstream's list at {LISTS[kind]} does not end")


async def _page(upstream: Upstream, target: str) -> dict[str, object]:
    async with asyncio.timeout(_TIMEOUT_S):
        response = await upstream.send("GET", target, [(b"accept", b"application/json")], b"")
        body = bytearray()
        while chunk := await response.read():
            body += chunk
    path = target.partition("?")[0]
    if response.status != _OK:
        raise NoObjects(f"the upstream answered GET {path} with {response.status}")
    try:
        document = cast("object", orjson.loads(body))
    except ValueError:
        document = None
    if not _is_object(document):
        raise NoObjects(f"the upstream's response to GET {path} is no list")
    return document


def _is_object(document: object) -> TypeGuard[dict[str, object]]:
    return isinstance(document, dict)
