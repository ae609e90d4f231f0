"""The models as callers see them: without those that the rate card refuses, the list from a copy.

Every client asks for the list, and it hardly ever changes. A copy is kept for a short time, in this
process, for requests that the upstream would answer alike; those that come while it is being
fetched wait for the same response. Only a response of 200 is kept. It must never answer a caller
whose key was not checked: that is done before.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.rate_card import UnpricedModel
from tokenbalance.openai.objects.models import is_free, model_of, visible_models
from tokenbalance.proxy.unpriced import refusal_of_model
from tokenbalance.wire.upstream import in_memory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokenbalance.books.pricing.rate_card import RateCard
    from tokenbalance.openai.objects.models import IsRefused
    from tokenbalance.wire.client.response import ClientResponse
    from tokenbalance.wire.upstream import UpstreamResponse

Headers = list[tuple[bytes, bytes]]
Key = tuple[str, tuple[tuple[bytes, bytes], ...]]

COPY_S: Final = 60.0
"""The default of how long a copy is used."""
COPIES_MAX: Final = 16
COPY_BYTES_MAX: Final = 1024 * 1024
"""Longer lists are fetched for each request."""
_LIST: Final = "/models"
_OF_ONE_REQUEST: Final = frozenset(
    {
        b"session-id",
        b"thread-id",
        b"traceparent",
        b"tracestate",
        b"user-agent",
        b"x-client-request-id",
    }
)
"""Headers that say who asks, or name the request: the list is the same without them."""
_OF_ONE_CLIENT: Final = b"x-stainless-"
_OF_ONE_RESPONSE: Final = frozenset({b"openai-processing-ms", b"x-oai-request-id", b"x-request-id"})
"""Headers that would be untrue of a copy."""


@dataclass(frozen=True, slots=True)
class _Copy:
    status: int
    headers: Headers
    body: bytes
    fetched_s: float
    """On the monotonic clock."""


class ModelLists:
    """What callers see of the upstream's models, with copies of the lists they have asked for."""

    def __init__(self, copy_s: float = COPY_S, rate_card: RateCard | None = None) -> None:
        """Start without any copy.

        Args:
            copy_s: how long one is used, 0 for not at all.
            rate_card: models that it refuses are left out; None: it refuses none.

        """
        self._copy_s = copy_s
        self._is_refused = None if rate_card is None else _refusing(rate_card)
        self._copies: dict[Key, asyncio.Task[_Copy]] = {}

    def check(self, path: bytes) -> None:
        """Make sure that requests for the model of a path are not refused.

        Args:
            path: raw, below `/v1`, of one model or of the list.

        Raises:
            ModelNotFound: the card has no rate for it.

        """
        name = model_of(path)
        if self._is_refused is not None and name and self._is_refused(name):
            raise refusal_of_model(name)

    def sending(
        self,
        target: str,
        headers: Headers,
        fetch: Callable[[], Awaitable[UpstreamResponse]],
        response: ClientResponse,
        hides: IsRefused | None = None,
    ) -> Callable[[], Awaitable[UpstreamResponse]]:
        """Return what answers a request about models, from a copy if there is to be one.

        Args:
            target: path and query of the request, as they go upstream.
            headers: those that go upstream.
            fetch: asks the upstream.
            response: gets an `age` where it is a copy.
            hides: says of a name whether the caller may not see its model; None: of none.

        """

        async def fetch_visible() -> UpstreamResponse:
            return await (await fetch()).edited(self._visible)

        if not self._copy_s or target.partition("?")[0] != _LIST:
            answer = fetch_visible
        else:
            key = target, tuple(field for field in headers if _may_change_it(field[0]))
            answer = partial(self._answer, key, fetch_visible, response)
        return answer if hides is None else partial(_without, answer, hides)

    def _visible(self, body: bytes) -> bytes:
        return visible_models(body, self._is_refused)

    async def _answer(
        self,
        key: Key,
        fetch: Callable[[], Awaitable[UpstreamResponse]],
        response: ClientResponse,
    ) -> UpstreamResponse:
        task = self._copies.get(key)
        if task is not None and not self._is_old(task):
            copy = await asyncio.shield(task)
            response.add_header(b"age", int(_age_s(copy)))
            headers = [field for field in copy.headers if field[0] not in _OF_ONE_RESPONSE]
            return in_memory(copy.status, headers, copy.body)
        task = self._copies[key] = asyncio.create_task(_fetched(fetch))
        task.add_done_callback(lambda done: self._keep(key, done))
        copy = await asyncio.shield(task)
        return in_memory(copy.status, copy.headers, copy.body)

    def _is_old(self, task: asyncio.Task[_Copy]) -> bool:
        if not task.done():
            return False
        return not _is_worth_keeping(task) or self._copy_s <= _age_s(task.result())

    def _keep(self, key: Key, task: asyncio.Task[_Copy]) -> None:
        """Keep what was fetched if it can be used again, and forget what is too much."""
        if not _is_worth_keeping(task) and self._copies.get(key) is task:
            del self._copies[key]
        ended = [other for other, one in self._copies.items() if one.done()]
        for other in ended[: max(len(ended) - COPIES_MAX, 0)]:
            del self._copies[other]


def _refusing(card: RateCard) -> Callable[[str], bool] | None:
    """Return what says of a name whether its model is refused; None if none is."""
    if card.default is not None:
        return None

    def is_refused(name: str) -> bool:
        try:
            _ = card.rates_for(name)
        except UnpricedModel:
            return not is_free(name)
        return False

    return is_refused


def _age_s(copy: _Copy) -> float:
    return time.monotonic() - copy.fetched_s


def _may_change_it(name: bytes) -> bool:
    return name not in _OF_ONE_REQUEST and not name.startswith(_OF_ONE_CLIENT)


def _is_worth_keeping(task: asyncio.Task[_Copy]) -> bool:
    if task.cancelled() or task.exception() is not None:
        return False
    copy = task.result()
    return copy.status == 200 and len(copy.body) <= COPY_BYTES_MAX  # noqa: PLR2004 - the one status of a list


async def _without(
    answer: Callable[[], Awaitable[UpstreamResponse]], hides: IsRefused
) -> UpstreamResponse:
    """Cut what one caller may not see from what all see."""
    return await (await answer()).edited(lambda body: visible_models(body, hides))


async def _fetched(fetch: Callable[[], Awaitable[UpstreamResponse]]) -> _Copy:
    """Read a response that is in memory already, since models were cut from it."""
    response = await fetch()
    try:
        pieces: list[bytes] = []
        while piece := await response.read():
            pieces.append(piece)
    finally:
        await response.close()
    return _Copy(response.status, response.headers, b"".join(pieces), time.monotonic())
