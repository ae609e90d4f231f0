"""What a response says of the object that its path names, kept for lists and pages.

Owns which responses describe an object. It must never make an object anybody's: only the caller's
own are described anew.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.openai.metering.sse import document_of
from tokenbalance.openai.objects.found import whole
from tokenbalance.openai.objects.listing import described_kind

if TYPE_CHECKING:
    from tokenbalance.owners.registry import Owners
    from tokenbalance.proxy.asked import Asked


async def keep_snapshot(owners: Owners, asked: Asked, body: bytes) -> None:
    """Keep how the upstream describes the object of a request, as far as the database can be asked.

    Args:
        owners: keeps it.
        asked: the request.
        body: of its response, with a status of 2xx.

    """
    kind = described_kind(asked.operation)
    if kind is None or not asked.path_ids:
        return
    document = document_of(body)
    object_id = asked.path_ids[-1]
    if document.get("id") == object_id:
        with suppress(*UNAVAILABLE):
            await owners.lists.describe(asked.caller.account_id, whole(kind, object_id, document))
