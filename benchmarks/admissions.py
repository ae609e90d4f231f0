"""Whether more was ever admitted than a limit allows, from what the books remember.

    now          nothing reserves more than a limit's amount
    in the end   nothing is reserved, and no window has used more than its amount; usage beyond a
                 hold, and what turned up after it had expired, is on record and not counted
    rates        the moments of all requests are counted again, as a bucket that fills with time

Limits that are lowered under way, or removed with their member, would need their history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from tokenbalance.database.connections import Pool

_TOLERANCE_S: Final = 0.001
"""Spans are whole microseconds."""
_MINUTE_S: Final = 60.0
_NOW: Final = """
SELECT format('limit %s.%s of account %s: %s are reserved of %s', subject, name, account_id,
              reserved, amount)
  FROM limits
 WHERE period <> 'minute' AND reserved > amount
"""
_IN_THE_END: Final = """
SELECT format('limit %s.%s of account %s: %s are used of %s, %s reserved, %s came late', subject,
              name, l.account_id, used, amount, reserved, late.credits)
  FROM limits l
 CROSS JOIN LATERAL (
       SELECT coalesce(sum(greatest(overrun, 0) + CASE kind WHEN 'adjustment'
                           THEN greatest(-e.amount, 0) ELSE 0 END), 0)::bigint AS credits
         FROM ledger e
        WHERE e.account_id = l.account_id AND request_id IS NOT NULL) late
 WHERE reserved <> 0 OR period <> 'minute' AND unit <> 'holds' AND used > amount + late.credits
"""
_RATES: Final = """
SELECT account_id, subject, amount
  FROM limits
 WHERE name = 'requests_per_minute' AND (subject = 'account' OR subject LIKE 'key:%')
"""
_BEGUN: Final = """
SELECT started_at
  FROM ledger
 WHERE account_id = $1 AND state IS NOT NULL AND ($2 = 'account' OR 'key:' || key_id = $2)
 ORDER BY started_at
"""


async def over_limits(connection: asyncpg.Connection[asyncpg.Record]) -> list[str]:
    """Find limits of which more is reserved than they have."""
    rows = await connection.fetch(_NOW)
    return [cast("str", row[0]) for row in rows]


async def admitted_too_many(pool: Pool) -> list[str]:
    """Find limits that admitted too much; when no hold is open any more."""
    found = [cast("str", row[0]) for row in await pool.fetch(_IN_THE_END)]
    for row in await pool.fetch(_RATES):
        account_id, subject, amount = cast("tuple[int, str, int]", tuple(row))
        begun = [
            cast("datetime", each[0]) for each in await pool.fetch(_BEGUN, account_id, subject)
        ]
        if beyond := _beyond_rate([moment.timestamp() for moment in begun], amount):
            found.append(
                f"limit {subject} of account {account_id}: {beyond} requests beyond {amount} a"
                f" minute, of {len(begun)}"
            )
    return found


def _beyond_rate(moments_s: list[float], amount: int) -> int:
    """Count requests that found the bucket empty."""
    span_s = _MINUTE_S / amount
    full_at_s = 0.0
    beyond = 0
    for moment_s in moments_s:
        full_at_s = max(full_at_s, moment_s) + span_s
        beyond += full_at_s - moment_s > _MINUTE_S + _TOLERANCE_S
    return beyond
