"""Alerts as e-mails, handed to a mail server on a real socket."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from typing import TYPE_CHECKING

from tests.support.books import create_holder
from tests.support.threads import busy_threads
from tokenbalance.alerts.letters import MailServer
from tokenbalance.alerts.sender import Receivers, Sender
from tokenbalance.wire.callbacks import Callbacks, NotDelivered

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tokenbalance.database.connections import Pool, Sessions


class Mailbox:
    """A mail server that takes letters, or refuses every receiver."""

    def __init__(self) -> None:
        self.url = ""
        self.letters: list[tuple[str, bytes]] = []
        self.refuses = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        receiver = ""
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            verb = line.split()[0].upper()
            answer = b"250 fine\r\n"
            if verb == b"RCPT":
                receiver = line.decode().partition("<")[2].partition(">")[0]
                answer = b"550 nobody\r\n" if self.refuses else answer
            elif verb == b"DATA":
                writer.write(b"354 go on\r\n")
                self.letters.append((receiver, await reader.readuntil(b"\r\n.\r\n")))
            elif verb == b"QUIT":
                answer = b"221 bye\r\n"
            writer.write(answer)
        writer.close()


@asynccontextmanager
async def mailbox() -> AsyncGenerator[Mailbox]:
    box = Mailbox()
    server = await asyncio.start_server(box.serve, "127.0.0.1", 0)
    box.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield box


async def test_users_and_the_operator_get_what_is_about_them(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool)
    email = await pool.fetchval("SELECT email FROM users WHERE id = $1", holder.user_id)
    callbacks = Callbacks()
    async with mailbox() as box:
        mail = MailServer(box.url, "books@example.com")
        sender = Sender(sessions, Receivers(callbacks, NotDelivered, mail, ["ops@example.com"]))
        await pool.execute(
            "INSERT INTO alerts (account_id, event, data) VALUES"
            " ($1, 'balance.low', '{\"balance\": 950, \"below\": 1000}'),"
            " (NULL, 'upstream.quota', '{}'), ($1, 'a.new.one', '{}')",
            holder.account_id,
        )
        box.refuses = True
        _ = await sender.step()
        assert box.letters == []
        problems = await pool.fetch("SELECT DISTINCT problem FROM alert_deliveries")
        assert [tuple(row) for row in problems] == [
            ("the mail server did not take it: SMTPRecipientsRefused",)
        ]
        box.refuses = False
        await pool.execute("UPDATE alert_deliveries SET next_at = now()")
        async with busy_threads(), asyncio.timeout(5):
            _ = await sender.step()
            _ = await sender.step()
    await callbacks.close()
    found = {
        receiver: message_from_bytes(text, policy=policy.default) for receiver, text in box.letters
    }
    assert set(found) == {email, "ops@example.com"}
    letter = found[email]
    assert letter["subject"] == "tokenbalance: balance.low"
    assert letter["from"] == "books@example.com"
    assert "Your balance is 950 credits, below 1,000." in letter.get_content()
    assert await pool.fetchval("SELECT count(*) FROM alert_deliveries WHERE done_at IS NULL") == 0
