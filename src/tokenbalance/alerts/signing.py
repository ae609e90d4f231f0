"""The signature of a webhook, after Standard Webhooks (specification 1.0.0, symmetric).

    webhook-id           the same for every attempt: receivers know by it what they have had
    webhook-timestamp    seconds since 1970, of this attempt
    webhook-signature    v1,BASE64(HMAC-SHA256(secret, ID.TIMESTAMP.BODY))

A secret is `whsec_` and base64 of its bytes. Pure: no clock.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how every secret begins
_SECRET_BYTES: Final = 32


def new_secret() -> str:
    """Make a secret."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signed_headers(secret: str, name: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that prove who sends a body.

    Args:
        secret: of the webhook.
        name: of the alert.
        timestamp: of this attempt, in seconds since 1970.
        body: as it is sent.

    """
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = b".".join((name.encode(), str(timestamp).encode(), body))
    signature = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return {
        "webhook-id": name,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }
