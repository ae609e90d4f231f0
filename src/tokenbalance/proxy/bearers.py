"""Who asks: the bearer of a key, looked up or remembered.

Owns when a key is looked up in the database. It must never decide what its bearer may do.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.books.grants.due import enter_due_of
from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.errors import ServiceUnavailable
from tokenbalance.people.access import require_inference
from tokenbalance.people.callers import shown_key
from tokenbalance.people.remembered import Bearer

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Caller
    from tokenbalance.people.callers import Callers
    from tokenbalance.wire.client.request import ClientRequest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bearers:
    """Finds the bearers of keys."""

    callers: Callers
    pool: Pool

    async def authenticate(self, request: ClientRequest) -> Bearer:
        """Find who sends a request: one of the last minute may be remembered.

        Raises:
            InvalidApiKey: nobody.
            ServiceUnavailable: the database cannot be asked.

        """
        key = shown_key(request.headers)
        bearer = self.callers.recall(key) if request.is_brief else None
        if bearer is not None:
            return bearer
        try:
            caller = await self.callers.look_up(key)
            return Bearer.looked_up(await self._entered(caller) if caller.is_due else caller)
        except UNAVAILABLE as error:
            raise no_database(error) from error

    async def look_up(self, bearer: Bearer) -> None:
        """Look up who was remembered, or was looked up too long ago.

        Raises:
            InvalidApiKey, MissingScope: the key has ended, or may no longer send requests.
            ServiceUnavailable: the database cannot be asked.

        """
        bearer.is_remembered = False
        try:
            caller = await self.callers.look_up(bearer.caller.secret_sha256)
            bearer.caller = await self._entered(caller) if caller.is_due else caller
        except UNAVAILABLE as error:
            raise no_database(error) from error
        require_inference(bearer.caller)

    async def _entered(self, caller: Caller) -> Caller:
        """Enter what is due of the account's grants before the caller is judged."""
        await enter_due_of(self.pool, caller.account_id)
        return await self.callers.look_up(caller.secret_sha256)


def no_database(error: Exception) -> ServiceUnavailable:
    """Fail closed: without the database nothing is dispatched."""
    logger.warning("the database is unavailable: %s", type(error).__name__)
    return ServiceUnavailable()
