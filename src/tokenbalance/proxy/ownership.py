"""Between read and hold: does every object that a request names belong to its caller?

The ids of the path, and those in the body, are looked up at once. Where one of them is not the
caller's, the request ends with the words for an object that nobody has, before anything is held or
sent. It must never ask the upstream whose something is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.errors import ModelNotFound, ObjectNotFound
from tokenbalance.openai.metering.sse import BOM, document_of
from tokenbalance.openai.objects.found import found_at, kind_of_owner, listed_id
from tokenbalance.openai.objects.models import is_fine_tune_path
from tokenbalance.openai.objects.not_found import not_found
from tokenbalance.openai.objects.places import sought_by, unstored
from tokenbalance.openai.objects.scanner import IdScanner
from tokenbalance.openai.objects.stream_ids import StreamIds
from tokenbalance.openai.unknown import ANY, ids_of_response, kinds_of
from tokenbalance.proxy.bearers import no_database

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from tokenbalance.model import Json
    from tokenbalance.model.objects import Found, Owned
    from tokenbalance.openai.objects.places import Sought
    from tokenbalance.openai.operation import Operation
    from tokenbalance.owners.registry import Owners
    from tokenbalance.proxy.asked import Asked
    from tokenbalance.wire.upstream import UpstreamResponse

    Send: TypeAlias = Callable[[], Awaitable[UpstreamResponse]]

logger = logging.getLogger(__name__)

_GONE: Final = frozenset({*range(200, 300), 404})
"""Statuses after which the upstream does not have an object that it was to delete."""


_NO_EDITS: Final[Mapping[str, Json]] = MappingProxyType({})
_ANYWHERE: Final = frozenset({"item", "vector_store_file"})
"""Kinds of objects that may be named behind more than one other object: an item belongs to its
response and to a conversation, and a file may be in several stores. Where it is looked for in vain,
the upstream says so; all of them are the caller's."""
_NUMBERED: Final = frozenset({"skill_version"})
"""Kinds of objects that a path names by their number among those of their parent."""
_UNMARKED: Final = frozenset({"vector_store_file"})
"""Kinds of objects whose deletion leaves what their id names: a file stays its owner's."""


@dataclass(frozen=True, slots=True)
class _Named:
    kind: str
    id: str
    param: str | None
    """Where the body or the query has it; None: the path does."""
    parent: str | None = None
    """The object in the path that it must be part of."""
    shown_by: str | None = None
    """The object whose list may have shown this item."""

    @property
    def keys(self) -> list[tuple[str, str]]:
        """What is looked up; it is the caller's if one of these is."""
        if self.shown_by is not None and self.kind == "item":
            return _item_behind(self.shown_by, self.id)
        return [(kind, self.id) for kind in kinds_of(kind_of_owner(self.kind))]

    @property
    def is_number(self) -> bool:
        """Whether it is no id: its parent decides whose it is."""
        return _is_number(self.kind, self.id)


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
        named = [*_of_path(operation, ids), *_of_body(asked, ids)]
        sought = {key for one in named if not one.is_number for key in one.keys}
        owned = await self.owners.find(asked.caller.account_id, list(sought))
        for one in named:
            if not one.is_number:
                _require(one, owned)
        return replace(asked, known=tuple(owned.values()), path_ids=ids)

    def found_in(self, asked: Asked, body: bytes) -> list[Found]:
        """Find what a response names that may be its caller's.

        Args:
            asked: the request.
            body: of its response, a whole document with a status of 2xx.

        """
        if asked.operation.has_fixed_ceiling:
            return ids_of_response(document_of(body.removeprefix(BOM)))
        sought = _sought_by(asked)
        if sought is None or not any(body.rfind(word) >= 0 for word in sought.in_document.words):
            return []
        return found_at(sought.in_document, document_of(body.removeprefix(BOM)), _within(asked))

    def ids_of_long(self, asked: Asked) -> IdScanner | None:
        """Return what finds ids in a response that is too long to be kept; None: it has none."""
        sought = _sought_by(asked)
        return sought and IdScanner(sought.in_document, _within(asked))

    def ids_of_stream(self, asked: Asked) -> StreamIds | None:
        """Return what finds ids in a stream; None: it has none."""
        sought = _sought_by(asked)
        if sought is None or not sought.in_events.all:
            return None
        return StreamIds(sought, _within(asked))

    async def record(self, asked: Asked, found: Sequence[Found]) -> None:
        """Make objects the caller's; returns when that is committed."""
        await self.owners.record(asked.caller, found)

    def note(self, asked: Asked, found: Sequence[Found]) -> bool:
        """Write down that objects are the caller's; the end of the stream commits it.

        Returns:
            Whether they are safe. If not, `record` them before their ids are passed on.

        """
        return self.owners.note(asked.caller, found)

    def sending(self, asked: Asked, send: Send) -> Send:
        """Return what sends a request; one that deletes an object marks it as deleted first.

        From that moment on it is nobody's. If the upstream still has it, it is the caller's again.
        """
        deleted = asked.operation.deletes
        if deleted is None or deleted in _UNMARKED or _is_number(deleted, asked.path_ids[-1]):
            return send
        account_id, kind, object_id = asked.caller.account_id, deleted, asked.path_ids[-1]
        within = asked.path_ids[-2] if asked.path_ids[1:] else None
        keys = _item_behind(within, object_id) if kind == "item" else [(kind, object_id)]

        async def mark_and_send() -> UpstreamResponse:
            try:
                marked = [key for key in keys if await self.owners.delete(account_id, *key)]
            except UNAVAILABLE as error:
                raise no_database(error) from error
            if not marked:
                # Another request has deleted it since it was looked up.
                raise ObjectNotFound(not_found(kind, object_id, parent=within))
            is_gone = False
            try:
                upstream = await send()
                is_gone = upstream.status in _GONE
            finally:
                if not is_gone:
                    for key in marked:
                        await self._restore(account_id, *key)
            return upstream

        return mark_and_send

    async def _restore(self, account_id: int, kind: str, object_id: str) -> None:
        try:
            await self.owners.restore(account_id, kind, object_id)
        except UNAVAILABLE:
            logger.warning("an object stays deleted although the upstream has it: %s", object_id)


def names_object(operation: Operation, path: bytes) -> bool:
    """Whether the path of an operation that uses objects names one that may be somebody's.

    Models are everybody's, but for fine-tunes.
    """
    return not operation.of_models or is_fine_tune_path(path)


def edits_of_store(asked: Asked) -> Mapping[str, Json]:
    """Members to set in the document of a request whose key must not have anything stored."""
    return unstored(asked.operation) if asked.caller.force_store_false else _NO_EDITS


def _of_path(operation: Operation, ids: tuple[str, ...]) -> Iterator[_Named]:
    if operation.has_fixed_ceiling:
        yield from (_Named(ANY, name, None) for name in ids)
        return
    parent: str | None = None
    for kind, name in zip(operation.uses, ids, strict=True):
        yield _Named(kind, name, None, parent, parent)
        parent = name


def _of_body(asked: Asked, ids: tuple[str, ...]) -> Iterator[_Named]:
    # Without a body, what is named is a cursor of the list behind the path.
    shown_by = ids[0] if asked.operation.method == "GET" and ids else None
    for reference in asked.references:
        yield _Named(reference.kind, str(reference.value), reference.param, None, shown_by)


def _require(named: _Named, owned: Mapping[tuple[str, str], Owned]) -> None:
    found = next((owned[key] for key in named.keys if key in owned), None)
    if found is not None and (
        named.parent is None or named.kind in _ANYWHERE or found.parent == named.parent
    ):
        return
    kind, name, param = named.kind, named.id, named.param
    if kind == "model":
        raise _no_such_model(named)
    raise ObjectNotFound(not_found(kind, name, param=param, parent=named.parent), param=param)


def _no_such_model(named: _Named) -> ModelNotFound:
    if named.param is None:
        return ModelNotFound(not_found(named.kind, named.id), param="model")
    message = f"The model in '{named.param}' does not exist or you do not have access to it."
    return ModelNotFound(message, param=named.param)


def _item_behind(parent: str | None, name: str) -> list[tuple[str, str]]:
    """What an item in a path may be recorded as: made for the caller, or shown by their list."""
    return [("item", name), ("listed_item", listed_id(parent, name))]


def _is_number(kind: str, name: str) -> bool:
    return kind in _NUMBERED and name.isdecimal()


def _sought_by(asked: Asked) -> Sought | None:
    if asked.caller.force_store_false:
        return sought_by(asked.operation, {**asked.document, **edits_of_store(asked)})
    return sought_by(asked.operation, asked.document)


def _within(asked: Asked) -> str | None:
    return asked.path_ids[0] if asked.path_ids else None
