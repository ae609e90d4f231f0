"""From bearer key to caller: one indexed look-up of the key's SHA-256.

Nothing is decided by what was looked up for another request, so a revoked key or a disabled user is
refused at once, on every replica. `recall` says who showed a key within the last minute; the
statement of a hold then checks it, and if that finds no reason to place the hold, the key is looked
up. Concurrent look-ups share a statement, which starts after each of them was queued. The secret
never leaves this file.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from tokenbalance.database import statements
from tokenbalance.database.batches import BATCH_MAX, Batches, Left
from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.errors import InvalidApiKey
from tokenbalance.model import Caller
from tokenbalance.people.policies import policy_of
from tokenbalance.people.remembered import RememberedKeys
from tokenbalance.people.secrets import sha256

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokenbalance.database.batches import Batch
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Scope
    from tokenbalance.people.remembered import Bearer

    _Found: TypeAlias = tuple[
        int | None,
        int,
        int,
        int,
        bool,
        bool,
        int | None,
        int,
        int,
        list[Scope],
        datetime | None,
        bytes,
        bool,
        bool,
        int,
        str | None,
        bool,
    ]

# `Token` is what the clients of the original project send.
_SCHEMES: Final = frozenset({b"bearer", b"token"})
_SECRET_CHARS_MAX: Final = 512
_LAST_USE_RESOLUTION: Final = timedelta(seconds=55)
"""Shorter than a key is remembered, so that every look-up after that notes its use."""


class RefusedKey(InvalidApiKey):
    """A key that is unknown, has ended, or whose user was disabled; the client learns no more."""

    def __init__(self, secret_sha256: bytes) -> None:
        super().__init__(
            "Incorrect API key provided. It may be unknown, expired, revoked or disabled."
        )
        self.secret_sha256 = secret_sha256


class EndedKey(InvalidApiKey):
    """A key with which a request was accepted, and now may not be sent any more."""

    def __init__(self, key_id: int) -> None:
        super().__init__(
            "This API key was revoked or rotated, has expired or lost its scope, or its user was"
            " disabled. Nothing was sent or charged."
        )
        self.key_id = key_id


class Callers:
    """Finds callers, many at once. Raises what asyncpg raises."""

    def __init__(self, pool: Pool, batch_max: int = BATCH_MAX) -> None:
        """Take the request path's pool, and how many keys may share a statement."""
        self._pool = pool
        self.remembered: RememberedKeys = RememberedKeys()
        """Those that were found."""
        self._look_ups = Batches[bytes, Caller](self._look_up, batch_max, turns=pool.turns)
        self._uses = Batches[int, None](self._note_use, batch_max)

    def recall(self, secret_sha256: bytes) -> Bearer | None:
        """Say who showed a secret within the last minute; None if it has to be looked up."""
        return self.remembered.find(secret_sha256)

    async def look_up(self, secret_sha256: bytes) -> Caller:
        """Find the caller. That the key was used is noted in the background.

        Raises:
            RefusedKey: it is not valid.

        """
        caller = await self._look_ups.submit(secret_sha256)
        if caller is Left.LEFT:
            self.remembered.drop(secret_sha256)
            raise RefusedKey(secret_sha256)
        return caller

    async def _look_up(self, batch: Batch[bytes, Caller]) -> None:
        rows = await self._pool.fetch(statements.FIND_CALLERS, [pending.item for pending in batch])
        found: dict[bytes, Caller] = {}
        for row in cast("list[_Found]", rows):
            caller = _caller(row)
            found[row[11]] = caller
            self.remembered.keep(caller)
            if _is_due(row[10]):
                # Nobody waits for it: if it is lost, the next request notes it.
                _ = self._uses.submit(caller.key_id)
        for pending in batch:
            pending.resolve(found.get(pending.item, Left.LEFT))

    async def _note_use(self, batch: Batch[int, None]) -> None:
        with suppress(*UNAVAILABLE):
            _ = await self._pool.execute(statements.TOUCH_KEYS, [pending.item for pending in batch])


def shown_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the SHA-256 of the secret that a request shows.

    Args:
        headers: the request's header list as received, names in lower case.

    Raises:
        InvalidApiKey: no key, more than one, or one that cannot be valid.

    """
    return sha256(_bearer_secret(headers))


async def authenticate(pool: Pool, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
    """Find the caller.

    Args:
        pool: the request path's.
        headers: the request's header list as received, names in lower case.

    Raises:
        InvalidApiKey: no key, more than one, or one that is not valid.

    """
    return await find_caller(pool, _bearer_secret(headers))


async def find_caller(pool: Pool, secret: str) -> Caller:
    """Find the caller by the secret, and note that it was used, with statements of its own.

    Raises:
        InvalidApiKey: the secret is not valid.

    """
    row = await pool.fetchrow(statements.FIND_CALLERS, [sha256(secret)])
    if row is None:
        raise RefusedKey(sha256(secret))
    found = cast("_Found", tuple(row))
    caller = _caller(found)
    if _is_due(found[10]):
        _ = await pool.execute(statements.TOUCH_KEYS, [caller.key_id])
    return caller


def _caller(found: _Found) -> Caller:
    policy = None if found[15] is None else policy_of(found[2], found[14], found[15])
    return Caller(*found[:9], tuple(found[9]), *found[11:14], policy, found[16])


def _is_due(last_used_at: datetime | None) -> bool:
    return last_used_at is None or datetime.now(UTC) - last_used_at > _LAST_USE_RESOLUTION


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
        msg = "Incorrect API key provided: it has characters that are not allowed in a key."
        raise InvalidApiKey(msg) from None
