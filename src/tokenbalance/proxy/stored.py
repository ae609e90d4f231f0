"""Between own and hold: how much does the model read that the upstream stores?

    known        an earlier response of the same model: what it has used in all
    asked        else `POST /responses/input_tokens` counts the whole input, for nothing
    unknown      where that is not possible: as much as the model can read

The upstream is asked once a request, for a bounded time. Whatever it says or fails to say, the
request goes on: only the hold is larger without an answer. It must never be asked for a quote.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from tokenbalance.errors import ProxyError
from tokenbalance.offload import offload
from tokenbalance.openai.ceilings.stored import (
    answered,
    known_tokens,
    question_about,
    reads_of,
)
from tokenbalance.openai.metering.sse import document_of
from tokenbalance.proxy.asked import READ_INLINE_BYTES_MAX
from tokenbalance.wire.upstream import UpstreamBroke

if TYPE_CHECKING:
    from tokenbalance.model import Document, Stored
    from tokenbalance.people.remembered import Bearer
    from tokenbalance.proxy.admission import Admissions
    from tokenbalance.proxy.asked import Asked
    from tokenbalance.proxy.bearers import Bearers
    from tokenbalance.proxy.free_rate import FreeRate
    from tokenbalance.proxy.limits.gate import Gate
    from tokenbalance.wire.client.request import ClientRequest
    from tokenbalance.wire.upstream import Upstream, UpstreamResponse

logger = logging.getLogger(__name__)

PATIENCE_S: Final = 10.0
"""How long the upstream may take to count."""
ANSWER_BYTES_MAX: Final = 64 * 1024
"""The answer has fewer than a hundred bytes."""
_TARGET: Final = "/responses/input_tokens"
_BETA: Final = "?beta=true"
_HEADERS: Final = [(b"content-type", b"application/json"), (b"accept", b"application/json")]


@dataclass(frozen=True, slots=True)
class StoredContext:
    """Finds how much requests read that the upstream stores."""

    upstream: Upstream | None
    """None: there is none to ask."""
    bearers: Bearers
    admissions: Admissions
    free_rate: FreeRate
    """How often an account may have the upstream asked, as for any other free request."""
    gate: Gate
    """What limited keys may ask for."""

    async def find(self, request: ClientRequest, bearer: Bearer, asked: Asked) -> Asked:
        """Bound what a request reads that is stored, if it reads anything.

        Args:
            request: the client's; nobody is asked for one that has left.
            bearer: whose it is.
            asked: the request, with its objects known.

        Raises:
            InvalidApiKey, MissingScope, InsufficientQuota, ServiceUnavailable: as without a hold,
                before the upstream is asked; likewise what `Gate.judge` raises.
            ClientGone: the client has left.

        """
        if asked.stored is None:
            return asked
        known = known_stored(asked)
        if known is not None:
            return asked.with_stored(known)
        if bearer.is_remembered:
            await self.bearers.look_up(bearer)
            self.admissions.refuse_empty(bearer.caller)
            asked = await self.gate.judge_asked(request, bearer, asked)
        async with request.cancelling_when_gone():
            counted = await self._counted(asked)
        return asked if counted is None else asked.with_stored(counted)

    async def _counted(self, asked: Asked) -> Stored | None:
        """What the upstream has counted; None if it has not."""
        if self.upstream is None:
            return None
        is_long = len(asked.body) > READ_INLINE_BYTES_MAX
        question = await offload(_question, asked) if is_long else _question(asked)
        if question is None:
            return None
        try:
            self.free_rate.take(asked.caller.account_id)
            async with asyncio.timeout(PATIENCE_S):
                answer = await _ask(self.upstream, asked, question)
        except (TimeoutError, ProxyError, UpstreamBroke) as error:
            logger.info("the upstream did not count a stored input: %s", type(error).__name__)
            return None
        return answered(asked.operation, asked.document, answer.get("input_tokens"))


def known_stored(asked: Asked) -> Stored | None:
    """What is stored, where the caller's objects say it themselves; None: they do not."""
    if asked.stored is None:
        return None
    return known_tokens(reads_of(asked.references), asked.known, asked.model)


def _question(asked: Asked) -> bytes | None:
    question = question_about(asked.operation, asked.document)
    if question is None:
        return None
    # Numbers beyond 64 bits and halves of surrogate pairs are JSON, but not orjson's.
    with suppress(orjson.JSONEncodeError):
        return orjson.dumps(question)
    return None


async def _ask(upstream: Upstream, asked: Asked, question: bytes) -> Document:
    """Ask for the length of an input; empty if there is no answer."""
    beta = _BETA if asked.operation.path.endswith(_BETA) else ""
    response = await upstream.send(
        "POST", _TARGET + beta, _HEADERS, question, asked.caller.account_id
    )
    try:
        if not 200 <= response.status < 300:  # noqa: PLR2004 - the class of status codes
            logger.info("the upstream did not count a stored input: status %d", response.status)
            return {}
        return document_of(await _beginning(response))
    finally:
        await response.close()


async def _beginning(response: UpstreamResponse) -> bytes:
    body = b""
    while len(body) <= ANSWER_BYTES_MAX and (piece := await response.read()):
        body += piece
    return body
