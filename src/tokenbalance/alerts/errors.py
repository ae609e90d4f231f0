"""What is refused; the message is one line for people.

AlertError
|-- InvalidThresholds
|-- UnknownWebhook
`-- WebhookError
"""

from __future__ import annotations


class AlertError(Exception):
    """The change is refused, and nothing was changed."""


class InvalidThresholds(AlertError):
    """The thresholds are too many, or one is out of range."""


class UnknownWebhook(AlertError):
    """No webhook has this id, or it is another account's."""

    def __init__(self, webhook_id: int) -> None:
        super().__init__(f"no webhook has the id {webhook_id}")


class WebhookError(AlertError):
    """A webhook is not acceptable; the message begins with the field."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
