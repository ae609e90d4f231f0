"""Faults that only the operator can mend, as alerts: once an hour of each kind.

Written in the background: the request that met the fault waits for nothing.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy.dialects.postgresql import insert

from tokenbalance.database.connections import is_unavailable
from tokenbalance.database.tables import Alert

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.alerts.events import OperatorEvent
    from tokenbalance.database.connections import Sessions

logger = logging.getLogger(__name__)

OF_CODES: Final[dict[str, OperatorEvent]] = {
    "upstream_auth": "upstream.refused_key",
    "upstream_quota": "upstream.quota",
}
"""The events of faults, by the code of the response that they lead to."""


async def tell_operator(
    session: AsyncSession, event: OperatorEvent, once: str, **data: str | int
) -> None:
    """Write an alert for the operator, unless it was written before.

    Args:
        session: the caller's transaction.
        event: what happened.
        once: what it is about; the hour is part of it where it may be told again.
        **data: more about it, without a secret.

    """
    new = insert(Alert).values(event=event, data=data, once=f"{event} {once}")
    _ = await session.execute(new.on_conflict_do_nothing())


class OperatorAlerts:
    """Writes the faults that requests meet; one that was written this hour is not tried again."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._writing: set[asyncio.Task[None]] = set()

    def tell(self, code: str) -> None:
        """Tell of the fault that leads to a response with this code, if it is one of these."""
        event = OF_CODES.get(code)
        if event is not None:
            task = asyncio.create_task(self._write(event))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    async def close(self) -> None:
        """Wait until what was told is written."""
        _ = await asyncio.gather(*self._writing)

    async def _write(self, event: OperatorEvent) -> None:
        try:
            async with self._sessions.begin() as session:
                await tell_operator(session, event, f"{datetime.now(UTC):%Y-%m-%d %H}")
        except Exception as error:
            if not is_unavailable(error):
                logger.exception("an alert cannot be written")
