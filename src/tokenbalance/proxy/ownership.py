"""Between read and hold: does every object that a request names belong to its caller?

The ids of the path, and those in the body, are looked up at once. Where one of them is not the
caller's, the request ends with the words for an object that nobody has, before anything is held or
sent. It must never ask the upstream whose something is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenbalance.errors import ObjectNotFound
from tokenbalance.openai.metering.sse import document_of
from tokenbalance.openai.objects.found import found_in
from tokenbalance.openai.objects.not_found import not_found

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from tokenbalance.model.objects import Owned
    from tokenbalance.openai.operation import Operation
    from tokenbalance.owners.registry import Owners
    from tokenbalance.proxy.asked import Asked
    from tokenbalance.wire.upstream import UpstreamResponse

    Send: TypeAlias = Callable[[], Awaitable[UpstreamResponse]]

_GONE: Final = frozenset({*range(200, 300), 404})
"""Statuses after which the upstream does not have an object that it was to delete."""


@dataclass(frozen=True, slots=True)
class _Named:
    kind: str
    id: str
    param: str | None
    """Where the body has it; None: the path does."""
    parent: str | None = None
    """The object in the path that it must be part of."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """Checks the objects of requests, and records those of responses."""

    owners: Owners

    async def check(self, asked: Asked, path: bytes) -> Asked:
        """Look up every object that a request names.

        Returns:
            The request with its objects known.

        Raises:
            ObjectNotFound: one is not the caller's.

        """
        operation = asked.operation
        ids = operation.path_ids(path) if operation.uses else ()
        named = [*_of_path(operation, ids), *_of_body(asked)]
        owned = await self.owners.find(
            asked.caller.account_id, list({(one.kind, one.id) for one in named})
        )
        for one in named:
            _require(one, owned)
        return replace(asked, known=tuple(owned.values()), path_ids=ids)

    async def record(self, asked: Asked, body: bytes) -> None:
        """Make what a response names the caller's; returns when that is committed.

        Args:
            asked: the request.
            body: of its response, a whole document with a status of 2xx.

        """
        document = document_of(body)
        within = asked.path_ids[0] if asked.path_ids else None
        await self.owners.record(asked.caller, found_in(asked.operation, document, within))

    def sending(self, asked: Asked, send: Send) -> Send:
        """Return what sends a request; one that deletes an object marks it as deleted first.

        From that moment on it is nobody's. If the upstream still has it, it is the caller's again.
        """
        if asked.operation.deletes is None:
            return send
        account_id, kind = asked.caller.account_id, asked.operation.uses[-1]
        object_id = asked.path_ids[-1]

        async def mark_and_send() -> UpstreamResponse:
            if not await self.owners.delete(account_id, kind, object_id):
                raise ObjectNotFound(not_found(kind, object_id))
            is_gone = False
            try:
                upstream = await send()
                is_gone = upstream.status in _GONE
            finally:
                if not is_gone:
                    await self.owners.restore(account_id, kind, object_id)
            return upstream

        return mark_and_send


def _of_path(operation: Operation, ids: tuple[str, ...]) -> Iterator[_Named]:
    parent: str | None = None
    for kind, name in zip(operation.uses, ids, strict=True):
        yield _Named(kind, name, None, parent)
        parent = name


def _of_body(asked: Asked) -> Iterator[_Named]:
    for reference in asked.references:
        yield _Named(reference.kind, str(reference.value), reference.param)


def _require(named: _Named, owned: Mapping[tuple[str, str], Owned]) -> None:
    found = owned.get((named.kind, named.id))
    if found is None or (named.parent is not None and found.parent != named.parent):
        raise ObjectNotFound(not_found(named.kind, named.id), param=named.param)
