"""The alerts of one process: what it tells, and what it delivers in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.alerts.operator import OperatorAlerts
from tokenbalance.alerts.sender import Receivers, Sender
from tokenbalance.alerts.upcoming import Upcoming
from tokenbalance.wire.callbacks import Callbacks, NotDelivered

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from tokenbalance.alerts.letters import MailServer
    from tokenbalance.database.connections import Sessions
    from tokenbalance.model import UpstreamTraits


class Alerts:
    """Tells the operator of faults, and delivers what is told."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        to_private: bool,
        mail: MailServer | None,
        operators: Sequence[str],
    ) -> None:
        """Begin without a connection to any receiver.

        Args:
            sessions: of background work.
            to_private: whether webhooks may lead to addresses that are not public.
            mail: where e-mails are handed over; None: none is sent.
            operators: the operator's e-mail addresses.

        """
        self.operator: OperatorAlerts = OperatorAlerts(sessions)
        self._sessions: Sessions = sessions
        self._callbacks: Callbacks = Callbacks(to_private=to_private)
        self._receivers: Receivers = Receivers(self._callbacks, NotDelivered, mail, operators)

    def send(self) -> Coroutine[object, object, None]:
        """Deliver what is due, until cancelled."""
        return Sender(self._sessions, self._receivers).run()

    def look_ahead(self, upstream: UpstreamTraits) -> Coroutine[object, object, None]:
        """Look for what is about to end, until cancelled."""
        return Upcoming(self._sessions, upstream).run()

    async def close(self) -> None:
        """Write what was told, and close every connection."""
        await self.operator.close()
        await self._callbacks.close()
