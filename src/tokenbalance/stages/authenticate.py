"""Bearer key to caller: one indexed look-up of the key's SHA-256, on every request.

Nothing is cached, so a revoked key or a disabled user is refused at once, on every replica.
The secret itself never leaves this file.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.accounts.secrets import sha256
from tokenbalance.database import statements
from tokenbalance.errors import InvalidApiKey
from tokenbalance.model import Caller

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokenbalance.database.connections import Pool

# `Token` is what the clients of the original project send.
_SCHEMES: Final = frozenset({b"bearer", b"token"})
_SECRET_CHARS_MAX: Final = 512
_LAST_USE_RESOLUTION: Final = timedelta(minutes=1)


async def authenticate(pool: Pool, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
    """Find who calls.

    Args:
        pool: connections of the request path.
        headers: the request's header list as received, names in lower case.

    Raises:
        InvalidApiKey: no key, more than one, or one that is not valid now.

    """
    return await find_caller(pool, _bearer_secret(headers))


async def find_caller(pool: Pool, secret: str) -> Caller:
    """Find whose secret this is, and note that it was used.

    Raises:
        InvalidApiKey: nobody's now.

    """
    row = await pool.fetchrow(statements.FIND_CALLER, sha256(secret))
    if row is None:
        msg = "Incorrect API key provided. It may be unknown, expired, revoked or disabled."
        raise InvalidApiKey(msg)
    found = cast("tuple[int, int, int, int, bool, bool, datetime | None]", tuple(row))
    last_used_at = found[-1]
    caller = Caller(*found[:6])
    if last_used_at is None or datetime.now(UTC) - last_used_at > _LAST_USE_RESOLUTION:
        await pool.execute(statements.TOUCH_KEY, caller.key_id)
    return caller


def _bearer_secret(headers: Iterable[tuple[bytes, bytes]]) -> str:
    values = [value for name, value in headers if name == b"authorization"]
    if not values:
        msg = (
            "You didn't provide an API key. Send it in an Authorization header as"
            " 'Authorization: Bearer YOUR_KEY'."
        )
        raise InvalidApiKey(msg)
    if len(values) > 1:
        msg = "More than one Authorization header was sent; exactly one is accepted."
        raise InvalidApiKey(msg)
    scheme, _, secret = values[0].strip().partition(b" ")
    secret = secret.strip()
    if scheme.lower() not in _SCHEMES or not 0 < len(secret) <= _SECRET_CHARS_MAX:
        msg = "The Authorization header must be 'Bearer' followed by an API key."
        raise InvalidApiKey(msg)
    try:
        return secret.decode("ascii")
    except UnicodeDecodeError:
        msg = "Incorrect API key provided: it has characters that no key has."
        raise InvalidApiKey(msg) from None
