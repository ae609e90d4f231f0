"""The security log's lines about keys that were refused: whose they are, and why.

The look-up is only made for refusals that get a line, so a flood of them costs the database little.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, cast

from tokenbalance.database import statements
from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.events import Line, refusals, say, say_refusal
from tokenbalance.people.callers import RefusedKey

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Caller
    from tokenbalance.people.callers import EndedKey


async def note_refused_key(pool: Pool, refused: RefusedKey | EndedKey, address: str) -> None:
    """Write a line, unless there were too many in the last minute.

    Args:
        pool: the request path's.
        refused: the key that was refused.
        address: the client's IP address; empty if unknown.

    """
    if not refusals.admit("key.refused"):
        return
    named = (
        (refused.secret_sha256, None) if isinstance(refused, RefusedKey) else (None, refused.key_id)
    )
    row = None
    with suppress(*UNAVAILABLE):
        row = await pool.fetchrow(statements.REFUSED_KEY, *named)
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


def note_missing_scope(caller: Caller | None, address: str) -> None:
    """Write a line about a key that is not for what it was used for; limited as others are.

    Args:
        caller: whose key it is; None if that is not known.
        address: the client's IP address; empty if unknown.

    """
    say_refusal(
        Line(
            event="key.out_of_scope",
            outcome="refused",
            reason="missing_scope",
            user=caller and caller.user_id,
            key_id=caller and caller.key_id,
            address=address,
        )
    )
