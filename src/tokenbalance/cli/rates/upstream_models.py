"""Asks the upstream for its list of models, for commands. The key must never be in an error."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.errors import ProxyError
from tokenbalance.openai.objects.models import visible_models
from tokenbalance.wire.upstream import UpstreamBroke, open_upstream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.settings import Settings
    from tokenbalance.wire.upstream import Upstream

_TIMEOUT_S: Final = 30.0
_OK: Final = 200


class NoList(Exception):
    """The upstream's models are not known; the message says why."""


async def models_of_upstream(settings: Settings) -> list[str]:
    """Return the names of the models that the upstream offers, sorted.

    Raises:
        NoList: there is no key, no response, or one that is no list.

    """
    address = settings.upstream_address()
    if address is None:
        raise NoList("OPENAI_API_KEY is not set")
    try:
        async with asyncio.timeout(_TIMEOUT_S), open_upstream(address) as upstream:
            return sorted(_names(await _body(upstream)))
    except (TimeoutError, UpstreamBroke):
        raise NoList("the upstream did not send its list of models") from None
    except ProxyError as error:
        raise NoList(f"the upstream cannot be asked ({error.code})") from None


async def _body(upstream: Upstream) -> bytes:
    response = await upstream.send("GET", "/models", [(b"accept", b"application/json")], b"")
    # As callers see it: fine-tunes are for nobody.
    whole = await response.edited(visible_models)
    if whole.status != _OK:
        raise NoList(f"the upstream answered GET /models with {whole.status}")
    return await whole.read()


def _names(body: bytes) -> set[str]:
    try:
        document = cast("object", json.loads(body))
    except ValueError:
        document = None
    rows = (
        cast("Mapping[str, object]", document).get("data") if isinstance(document, dict) else None
    )
    if not isinstance(rows, list):
        raise NoList("the upstream's response to GET /models is no list of models")
    ids = (
        cast("Mapping[str, object]", row).get("id")
        for row in cast("list[object]", rows)
        if isinstance(row, dict)
    )
    return {name for name in ids if isinstance(name, str)}
