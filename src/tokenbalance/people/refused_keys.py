"""The security log's line about a key that was refused: whose it was, and why.

The look-up is only made for refusals that get a line, so a flood of them costs the database little.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, cast

from tokenbalance.database import statements
from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.events import Line, refusals, say

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool
    from tokenbalance.people.callers import RefusedKey


async def note_refused_key(pool: Pool, refused: RefusedKey, address: str) -> None:
    """Write a line, unless there were too many in the last minute.

    Args:
        pool: the request path's.
        refused: the key that was refused.
        address: the client's IP address; empty if unknown.

    """
    if not refusals.admit("key.refused"):
        return
    row = None
    with suppress(*UNAVAILABLE):
        row = await pool.fetchrow(statements.REFUSED_KEY, refused.secret_sha256)
    user_id, key_id, reason = (
        (None, None, "unknown") if row is None else cast("tuple[int, int, str]", tuple(row))
    )
    say(
        Line(
            event="key.refused",
            outcome="refused",
            reason=reason,
            user=user_id,
            key_id=key_id,
            address=address,
        )
    )
