"""An alert as an e-mail: what it says, and how it is handed to a mail server. Never retries."""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT_S: Final = 30.0
_PORTS: Final = {"smtp": 587, "smtps": 465}

_SENTENCES: Final[Mapping[str, str]] = {
    "balance.low": "{whose_balance} is {balance} credits, below {below}.",
    "balance.empty": "{whose_balance} is used up: {balance} credits are left.",
    "budget.reached": "The limit {limit} of {amount} {unit} is used up. It resets: {resets_at}.",
    "grant.expiring": "{remaining} credits end at {expires_at}.",
    "key.expiring": "The API key {name} ({prefix}) expires at {expires_at}.",
    "upstream.refused_key": "The upstream refuses the API key of this installation.",
    "upstream.quota": "The upstream says that the money of this installation is used up.",
    "books.violated": "The books violate an invariant: run `tokenbalance ledger verify`.",
    "model.shutdown_soon": "The model {model} will be shut down on {retires}.",
}


@dataclass(frozen=True, slots=True)
class Mail:
    """What an e-mail is about."""

    event: str
    data: Mapping[str, object]
    team: str = ""
    """The name of the team that it is about; empty: about the receiver, or the installation."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where e-mails are handed over."""

    url: str = field(repr=False)
    """`smtp://` (STARTTLS where offered, port 587) or `smtps://` (TLS), with or without a name and
    a password."""
    sender: str

    def send(self, receiver: str, mail: Mail) -> None:
        """Hand over an e-mail; blocks, so it belongs in a thread.

        Raises:
            OSError, smtplib.SMTPException: it was not accepted.

        """
        message = letter(self.sender, receiver, mail)
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        context = ssl.create_default_context()
        if parts.scheme == "smtps":
            server = smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_S, context=context)
        else:
            server = smtplib.SMTP(host, port, timeout=_TIMEOUT_S)
        with server:
            _ = server.ehlo()
            if parts.scheme == "smtp" and server.has_extn("starttls"):
                _ = server.starttls(context=context)
            if parts.username is not None:
                _ = server.login(unquote(parts.username), unquote(parts.password or ""))
            _ = server.send_message(message)


def letter(sender: str, receiver: str, mail: Mail) -> EmailMessage:
    """Write the e-mail of an alert."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = receiver
    about = f" ({mail.team})" if mail.team else ""
    message["Subject"] = f"tokenbalance: {mail.event}{about}"
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain="tokenbalance.invalid")
    message["Auto-Submitted"] = "auto-generated"
    values = _Known({name: _shown(value) for name, value in mail.data.items()})
    values["whose_balance"] = f"The balance of {mail.team}" if mail.team else "Your balance"
    sentence = _SENTENCES.get(mail.event, mail.event).format_map(values)
    message.set_content(f"{sentence}\n" + (f"Team: {mail.team}\n" if mail.team else ""))
    return message


def _shown(value: object) -> str:
    if value is None:
        return "never"
    return f"{value:,}" if isinstance(value, int) else str(value)


class _Known(dict[str, str]):
    """Values by name; one that is missing is shown as unknown."""

    def __missing__(self, name: str) -> str:
        return f"(unknown {name})"
