"""Lists of what the upstream stores, in place of the upstream's own, which are everybody's.

Which objects are on a page, and in which order, comes from the table of objects; what each is, from
its last description. Those that may have changed since are asked for upstream, one by one:

    described       shown as it is now, and kept so
    not there       marked as deleted, left out; the page is filled up
    no response     shown as it was

Owns how a page comes about. It must never ask the upstream for a list, nor let a caller wait for
descriptions for longer than REFRESH_WITHIN_S.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import orjson

from tokenbalance.errors import ObjectNotFound, ProxyError, TooManyRequests
from tokenbalance.openai.metering.sse import document_of
from tokenbalance.openai.objects.found import ID_CHARS_MAX, whole
from tokenbalance.openai.objects.listing import listed, page_body, undescribed
from tokenbalance.openai.objects.not_found import not_found
from tokenbalance.owners.lists import Stretch
from tokenbalance.wire.upstream import UpstreamBroke

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenbalance.model import Document
    from tokenbalance.openai import Surface
    from tokenbalance.openai.objects.listing import ListQuery
    from tokenbalance.openai.operation import Operation
    from tokenbalance.owners.lists import ListedObject, Place
    from tokenbalance.owners.registry import Owners
    from tokenbalance.proxy.free_rate import FreeRate
    from tokenbalance.wire.client.request import ClientRequest
    from tokenbalance.wire.upstream import Headers, Upstream, UpstreamResponse

REFRESHES_MAX: Final = 100
"""Objects that are asked for upstream for one page."""
REFRESHES_AT_ONCE: Final = 8
REFRESH_WITHIN_S: Final = 10.0
ROWS_AT_ONCE: Final = 1000
PAGE_BYTES_MAX: Final = 8 * 1024 * 1024
"""A longer page ends early, and says that there is more."""
DESCRIPTION_BYTES_MAX: Final = 256 * 1024
"""A longer description is not read."""
NOT_THERE_AFTER: Final = timedelta(minutes=1)
"""How old an object is before it is believed that the upstream does not have it any more: it may
not find everywhere what it has just made."""
_OK: Final = 200
_NOT_THERE: Final = 404


@dataclass(frozen=True, slots=True)
class Descriptions:
    """Asks the upstream for single objects, on behalf of an account."""

    upstream: Upstream
    surface: Surface
    headers: Headers
    """End-to-end headers of the request."""
    account_id: int
    free_rate: FreeRate
    """Each object asked for is a request that costs nothing."""

    def may_ask(self, kind: str) -> bool:
        """Whether there is an operation to ask for an object by, and the account may ask now."""
        if self._operation(kind) is None:
            return False
        try:
            self.free_rate.take(self.account_id)
        except TooManyRequests:
            return False
        return True

    async def ask(self, kind: str, object_id: str) -> tuple[int, Document]:
        """Ask for one object.

        Returns:
            The status of the response, 0 if there is none, and its document, empty if it has none.

        """
        operation = self._operation(kind)
        if operation is None:
            return 0, {}
        path = re.sub(r"\{\w+\}", lambda _: quote(object_id, safe=":"), operation.path)
        try:
            response = await self.upstream.send("GET", path, self.headers, b"", self.account_id)
            try:
                return response.status, document_of(await _read(response))
            finally:
                await response.close()
        except (ProxyError, UpstreamBroke):
            return 0, {}

    def _operation(self, kind: str) -> Operation | None:
        for one in self.surface.operations:
            if one.method == "GET" and one.uses == (kind,) and one.path.endswith("}"):
                return one
        return None


async def _read(response: UpstreamResponse) -> bytes:
    pieces = bytearray()
    while piece := await response.read():
        pieces += piece
        if len(pieces) > DESCRIPTION_BYTES_MAX:
            return b""
    return bytes(pieces)


@dataclass(slots=True, eq=False)
class ObjectList:
    """One page for one caller."""

    request: ClientRequest
    owners: Owners
    descriptions: Descriptions
    account_id: int
    query: ListQuery
    _refreshes_left: int = field(default=REFRESHES_MAX, init=False)
    _until_s: float = field(default=0.0, init=False)
    """When nothing is asked for any more, on the event loop's clock; 0: nothing was yet."""

    async def page(self) -> bytes:
        """Make the page, as the body of the response.

        Raises:
            ObjectNotFound: the caller never had the object after or before which it is to be.
            ClientGone: the client has left while the upstream was asked.
            what asyncpg raises.

        """
        query = self.query
        stretch, is_reversed = await self._stretch()
        objects: list[tuple[str, str]] = []
        size, is_last = 0, False
        while not is_last and len(objects) <= query.limit and size <= PAGE_BYTES_MAX:
            rows_max = min(query.limit + 1 - len(objects), ROWS_AT_ONCE)
            rows = await self.owners.lists.read(stretch, rows_max, unknown=self._refreshes_left > 0)
            described = await self._described(rows)
            objects += described
            size += sum(len(one) for _, one in described)
            is_last = len(rows) < rows_max
            if rows:
                stretch = stretch.beyond(rows[-1].place)
        has_more = not is_last or len(objects) > query.limit
        objects = objects[: query.limit]
        return page_body(objects[::-1] if is_reversed else objects, has_more=has_more)

    async def _stretch(self) -> tuple[Stretch, bool]:
        """Find the part of the list that is asked for, and whether it is read from its end."""
        query = self.query
        after = await self._place(query.after, "after")
        before = await self._place(query.before, "before")
        older, newer = (before, after) if query.newest_first else (after, before)
        is_reversed = before is not None and after is None
        newest_first = query.newest_first != is_reversed
        stretch = Stretch(self.account_id, query.kind, newest_first, older, newer, query.wanted)
        return stretch, is_reversed

    async def _place(self, object_id: str | None, param: str) -> Place | None:
        if object_id is None:
            return None
        kind, place = self.query.kind, None
        if len(object_id) <= ID_CHARS_MAX and object_id.isprintable():
            place = await self.owners.lists.place_of(self.account_id, kind, object_id)
        if place is None:
            raise ObjectNotFound(not_found(kind, object_id[:ID_CHARS_MAX]), param=param)
        return place

    async def _described(self, rows: Sequence[ListedObject]) -> list[tuple[str, str]]:
        """Describe objects as they are now; without those that are not there, or not wanted."""
        responses = await self._ask([row for row in rows if self._is_due(row)])
        described = [(row.id, await self._shown(row, responses.get(row.id))) for row in rows]
        return [(name, one) for name, one in described if one is not None]

    def _is_due(self, row: ListedObject) -> bool:
        """Whether to ask for an object, which counts."""
        kind = self.query.kind
        rule = listed(kind)
        is_complete = row.snapshot is not None and (
            rule.complete_with is None or f'"{rule.complete_with}":' in row.snapshot
        )
        if is_complete and not row.has_ended and not rule.may_change(row.state):
            return False
        if self._refreshes_left == 0 or not self.descriptions.may_ask(kind):
            self._refreshes_left = 0
            return False
        self._refreshes_left -= 1
        return True

    async def _ask(self, rows: Sequence[ListedObject]) -> dict[str, tuple[int, Document]]:
        """Ask for objects upstream; without those to which nothing responds in time."""
        if not rows:
            return {}
        now = asyncio.get_running_loop().time
        self._until_s = self._until_s or now() + REFRESH_WITHIN_S
        places = asyncio.Semaphore(REFRESHES_AT_ONCE)

        async def ask(row: ListedObject) -> tuple[int, Document]:
            async with places:
                return await self.descriptions.ask(self.query.kind, row.id)

        tasks = {row.id: asyncio.create_task(ask(row)) for row in rows}
        try:
            async with self.request.cancelling_when_gone():
                _ = await asyncio.wait(tasks.values(), timeout=max(self._until_s - now(), 0.0))
            return {name: task.result() for name, task in tasks.items() if task.done()}
        finally:
            for task in tasks.values():
                _ = task.cancel()
            _ = await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _shown(self, row: ListedObject, response: tuple[int, Document] | None) -> str | None:
        """Describe one object; None: it is left out."""
        query, account_id = self.query, self.account_id
        status, document = response or (0, {})
        if status == _NOT_THERE and "error" in document and _is_settled(row):
            _ = await self.owners.delete(account_id, query.kind, row.id)
            return None
        if status == _OK and document.get("id") == row.id:
            found = whole(query.kind, row.id, document)
            if found.snapshot != row.snapshot or found.state != row.state or row.has_ended:
                await self.owners.lists.describe(account_id, found)
            is_wanted = query.matches(document)
            return (found.snapshot or orjson.dumps(document).decode()) if is_wanted else None
        if row.snapshot is None:
            return None if query.wanted else undescribed(query.kind, row.id)
        if query.wanted and not query.matches(document_of(row.snapshot.encode())):
            return None
        return row.snapshot


def _is_settled(row: ListedObject) -> bool:
    return datetime.now(UTC) - row.recorded_at >= NOT_THERE_AFTER
