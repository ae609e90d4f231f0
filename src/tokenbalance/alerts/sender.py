"""Delivers what is due, periodically, until it is cancelled; no error ends it."""

from __future__ import annotations

import asyncio
import logging
import smtplib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import orjson

from tokenbalance.alerts import outbox
from tokenbalance.alerts.letters import Mail
from tokenbalance.alerts.repeating import repeat
from tokenbalance.alerts.signing import signed_headers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenbalance.alerts.letters import MailServer
    from tokenbalance.alerts.outbox import Delivery
    from tokenbalance.database.connections import Sessions

logger = logging.getLogger(__name__)

EVERY_S: Final = 2.0
_FORGET_EVERY_S: Final = 3600.0
_AT_ONCE: Final = 20
_THREADS: Final = ThreadPoolExecutor(2, thread_name_prefix="mail")
"""Those of nothing else: a mail server that lets them wait must not keep heartbeats waiting."""


class Posts(Protocol):
    """Sends bodies to addresses of users; an error of `failed` says that it did not arrive."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        """Send one body."""
        ...


@dataclass(frozen=True, slots=True)
class Receivers:
    """How alerts reach people."""

    posts: Posts
    failed: type[Exception]
    """What `posts` raises, with a message for people."""
    mail: MailServer | None = None
    """None: no e-mail is sent."""
    operators: Sequence[str] = ()
    """The operator's e-mail addresses."""


class Sender:
    """Delivers alerts in the background."""

    def __init__(self, sessions: Sessions, receivers: Receivers, every_s: float = EVERY_S) -> None:
        self._sessions = sessions
        self._receivers = receivers
        self._every_s = every_s
        self._forget_at = 0.0

    async def run(self) -> None:
        """Deliver what is due, until cancelled; no error ends it."""
        await repeat(self._work, "alerts cannot be delivered", self._every_s, self._every_s)

    async def step(self) -> bool:
        """Address what is new and try what is due; whether anything was."""
        receivers = self._receivers
        async with self._sessions.begin() as session:
            addressed = await outbox.address(
                session, mails=receivers.mail is not None, operators=receivers.operators
            )
        async with self._sessions.begin() as session:
            taken = await outbox.take(session, _AT_ONCE)
        problems = await asyncio.gather(*map(self._deliver, taken))
        async with self._sessions.begin() as session:
            for delivery, problem in zip(taken, problems, strict=True):
                if await outbox.note(session, delivery, problem):
                    logger.warning(
                        "an alert was given up: %s for account %s: %s",
                        delivery.event,
                        delivery.account_id,
                        problem,
                    )
        return bool(addressed or taken)

    async def _work(self) -> None:
        while await self.step():
            pass
        if time.monotonic() >= self._forget_at:
            self._forget_at = time.monotonic() + _FORGET_EVERY_S
            async with self._sessions.begin() as session:
                await outbox.forget(session)

    async def _deliver(self, delivery: Delivery) -> str | None:
        """Try once; why it failed, or None."""
        try:
            if delivery.url is not None and delivery.secret is not None:
                await self._post(delivery, delivery.url, delivery.secret)
            elif delivery.email is not None and self._receivers.mail is not None:
                mail = Mail(delivery.event, delivery.data, delivery.team)
                send = self._receivers.mail.send
                await asyncio.get_running_loop().run_in_executor(
                    _THREADS, send, delivery.email, mail
                )
            else:
                return "no mail server is configured"
        except self._receivers.failed as error:
            return str(error)
        except (OSError, smtplib.SMTPException) as error:
            return f"the mail server did not take it: {type(error).__name__}"
        return None

    async def _post(self, delivery: Delivery, url: str, secret: str) -> None:
        data = {**delivery.data, "account_id": delivery.account_id}
        if delivery.team:
            data["team"] = delivery.team
        body = orjson.dumps(
            {"type": delivery.event, "timestamp": delivery.created_at, "data": data}
        )
        headers = signed_headers(secret, f"alert_{delivery.alert_id}", int(time.time()), body)
        await self._receivers.posts.post(url, headers, body)
