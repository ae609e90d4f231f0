"""Ends of holds that charge: settle, expire, and the correction of an estimated charge.

They all start with the same parameters, those of `Settlement.arguments` in `books.ledger`. Those
of a living process go on with a `Trace`. `SETTLE` and its like only end holds that took from no
limit. Those called `LIMITED` end any, and give back to the limits. Those called `FULL` do that as
well, and go on with the objects that the response names, which become the caller's in the same
statement. Most requests have neither, and pay nothing for it.
"""

from typing import Final

from tokenbalance.database.statements.limits import GIVEN_OF_MANY, giving
from tokenbalance.database.statements.objects import RECORDING

# The compare-and-set of an end is the deletion of the open hold, so a charge happens only once: if
# there is no hold to delete, none of the steps after it finds a row.
_CHARGE: Final = """
-- $1 account, $2 request, $3 charge, $4 estimated, $5 quantities by kind or null, $6 total{trace}
WITH hold AS (
    DELETE FROM open_holds
     WHERE request_id = $2 AND account_id = $1{only_if}
    RETURNING *
), account AS (
    UPDATE accounts
       SET balance = balance - $3, held = held - hold.amount
      FROM hold
     WHERE id = $1
    RETURNING balance, held, hold.*
), entry AS (
    INSERT INTO ledger
           (account_id, kind, state, amount, balance_after, request_id, key_id, hold, overrun,
            total, quantities, estimated, rates, endpoint, model, started_at, estimated_input,
            estimated_output, actor, note{columns})
    SELECT $1, 'charge', '{state}', -$3, balance, $2, key_id, amount, greatest($3 - amount, 0),
           $6, $5, $4, rates, endpoint, model, created_at, estimated_input,
           estimated_output, '{actor}', '{note}'{values}
      FROM account
){more}
SELECT balance, held FROM account
"""

_OBJECTS: Final = f""", owned AS (
    -- $15 rows of objects, as JSON
{
    RECORDING.format(
        items="(SELECT $1::bigint, key_id, $15::json, 1 FROM account)",
        deleted_at="coalesce(o.deleted_at, excluded.deleted_at)",
    )
}
)"""  # noqa: S608 - made of constants

_LIMITS: Final = giving(tokens="$6", credits_="$3")

_TRACE: Final = """,
-- $7..$14 a trace: upstream status, error code, upstream request id,
-- milliseconds to the first byte and in all, streamed, output cap, capped"""

_TRACE_COLUMNS: Final = """,
            upstream_status, error_code, upstream_request_id, first_byte_ms, total_ms, streamed,
            output_cap, capped"""

_TRACE_VALUES: Final = """,
           $7, $8, $9, $10, $11, $12, $13, $14"""


def _settle(*, only_if: str, note: str = "", more: str = "") -> str:
    return _CHARGE.format(
        state="settled",
        trace=_TRACE,
        columns=_TRACE_COLUMNS,
        values=_TRACE_VALUES,
        only_if=only_if,
        actor="proxy",
        note=note,
        more=more,
    )


_IS_NO_TOMBSTONE: Final = " AND amount > 0"
# Restored in the same transaction, perhaps with no credits; so it is no tombstone.
_RESTORED: Final = ""
_WAS_LOST: Final = "its hold was lost in a crash or failover of the database"

SETTLE: Final = _settle(only_if=f"{_IS_NO_TOMBSTONE} AND limit_ids IS NULL")

SETTLE_LIMITED: Final = _settle(only_if=_IS_NO_TOMBSTONE, more=_LIMITS)

SETTLE_FULL: Final = _settle(only_if=_IS_NO_TOMBSTONE, more=_LIMITS + _OBJECTS)

SETTLE_RESTORED: Final = _settle(only_if=_RESTORED, note=_WAS_LOST, more=_LIMITS + _OBJECTS)

_SETTLE_MANY: Final = """
-- $1 accounts, $2 requests, $3 charges, $4 estimated, $5 quantities by kind or nulls, $6 totals,
-- $7..$14 upstream status, error code, upstream request id, milliseconds to the first byte and in
-- all, streamed, output cap, capped{objects_comment}
-- SETTLE for many: the compare-and-set of each hold, then each account's row once, then the entries
-- in order. Holds that are locked, not open or listed twice are left to SETTLE. So is a hold that
-- a heartbeat renews at this very moment: this snapshot does not see its new row version.
WITH item AS (
    SELECT *
      FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::boolean[], $5::text[], $6::bigint[],
                  $7::smallint[], $8::text[], $9::text[], $10::integer[], $11::integer[],
                  $12::boolean[], $13::bigint[], $14::boolean[]{objects_column})
           WITH ORDINALITY AS item (account_id, request_id, charge, estimated, quantities, total,
                                    upstream_status, error_code, upstream_request_id, first_byte_ms,
                                    total_ms, streamed, output_cap, capped{objects_name}, number)
     LIMIT (SELECT cardinality($1))
), hold AS (
    SELECT item.*, h.place, a.balance, a.held
      FROM item
     CROSS JOIN LATERAL (
           SELECT account_id, ctid AS place
             FROM open_holds
            WHERE request_id = item.request_id AND account_id = item.account_id
              AND amount > 0{only_if}
              FOR UPDATE SKIP LOCKED) h
      JOIN accounts a ON a.id = h.account_id
       FOR NO KEY UPDATE OF a{or_skip}
), ended AS (
    DELETE FROM open_holds h
     USING hold
     WHERE h.ctid = hold.place
    RETURNING hold.*, h.amount, h.key_id, h.rates, h.endpoint, h.model, h.created_at,
              h.estimated_input, h.estimated_output{limit_columns}
), charged AS (
    SELECT *, balance - (sum(charge) OVER up_to)::bigint AS balance_after,
           held - (sum(amount) OVER (PARTITION BY account_id))::bigint AS held_after
      FROM ended
    WINDOW up_to AS (PARTITION BY account_id ORDER BY number)
), account AS (
    UPDATE accounts
       SET balance = balance - charge, held = held - amount
      FROM (SELECT account_id, sum(charge)::bigint AS charge, sum(amount)::bigint AS amount
              FROM ended
             GROUP BY account_id) e
     WHERE id = account_id
), entry AS (
    INSERT INTO ledger
           (account_id, kind, state, amount, balance_after, request_id, key_id, hold, overrun,
            total, quantities, estimated, rates, endpoint, model, started_at, estimated_input,
            estimated_output, actor, note,
            upstream_status, error_code, upstream_request_id, first_byte_ms, total_ms, streamed,
            output_cap, capped)
    SELECT account_id, 'charge', 'settled', -charge, balance_after, request_id, key_id, amount,
           greatest(charge - amount, 0), total, quantities::jsonb, estimated, rates, endpoint,
           model, created_at, estimated_input, estimated_output, 'proxy', '',
           upstream_status, error_code, upstream_request_id, first_byte_ms, total_ms, streamed,
           output_cap, capped
      FROM charged
     ORDER BY number
){more}
SELECT number, balance_after, held_after FROM charged
"""

_OBJECTS_OF_MANY: Final = f""", owned AS (
{
    RECORDING.format(
        items="(SELECT account_id, key_id, objects, number FROM charged)",
        deleted_at="coalesce(o.deleted_at, excluded.deleted_at)",
    )
}
)"""  # noqa: S608 - made of constants


def _settle_many(*, or_skip: str, has_limits: bool = False, has_objects: bool = False) -> str:
    return _SETTLE_MANY.format(
        or_skip=or_skip,
        only_if="" if has_limits else " AND limit_ids IS NULL",
        objects_comment=",\n-- $15 rows of objects as JSON, or nulls" if has_objects else "",
        objects_column=", $15::json[]" if has_objects else "",
        objects_name=", objects" if has_objects else "",
        limit_columns=", h.tokens, h.limit_ids" if has_limits else "",
        more=(GIVEN_OF_MANY if has_limits else "") + (_OBJECTS_OF_MANY if has_objects else ""),
    )


_OR_SKIP: Final = " SKIP LOCKED"

SETTLE_MANY: Final = _settle_many(or_skip=_OR_SKIP)

SETTLE_MANY_LIMITED: Final = _settle_many(or_skip=_OR_SKIP, has_limits=True)

SETTLE_MANY_FULL: Final = _settle_many(or_skip=_OR_SKIP, has_limits=True, has_objects=True)

SETTLE_MANY_OF_ONE: Final = _settle_many(or_skip="")

SETTLE_MANY_OF_ONE_LIMITED: Final = _settle_many(or_skip="", has_limits=True)

SETTLE_MANY_OF_ONE_FULL: Final = _settle_many(or_skip="", has_limits=True, has_objects=True)

EXPIRE: Final = _CHARGE.format(
    state="expired",
    trace=", $7 its process is known to be gone",
    columns="",
    values="",
    # Otherwise the lease must have ended by this clock.
    only_if=" AND amount > 0 AND ($7 OR lease_until < now())",
    actor="sweep",
    note="its process was gone",
    more=_LIMITS,
)

EXPIRE_RESTORED: Final = _CHARGE.format(
    state="expired",
    trace="",
    columns="",
    values="",
    # As above.
    only_if="",
    actor="sweep",
    note="its process was gone, and its hold lost in a crash or failover of the database",
    more=_LIMITS,
)

CORRECT: Final = """
-- Parameters as those of a settlement; the charge at the newest rates of the request.
-- Only while the account is locked and for a request that NEWEST_RATES has found expired, so that
-- those rates are the newest still. Its true usage, as a row of the difference to what it costs.
-- Happens once, by compare-and-set: a second row would violate the unique index of corrections. An
-- overrun is what exceeds the hold apart from what corrected prices added.
WITH expired AS (
    SELECT -amount AS charge, hold, overrun, total, key_id, endpoint, model,
           coalesce(quantities, '{}') AS quantities
      FROM ledger
     WHERE request_id = $2 AND account_id + 0 = $1 AND state IS NOT NULL
), rerated AS (
    SELECT coalesce(-sum(amount), 0)::bigint AS more
      FROM ledger
     WHERE request_id = $2 AND account_id + 0 = $1
       AND kind = 'adjustment' AND rates IS NOT NULL
), account AS (
    SELECT a.balance, more, hold, overrun, total, key_id, endpoint, model, quantities,
           charge + more AS charge
      FROM expired, rerated, accounts a
     WHERE a.id = $1
       FOR NO KEY UPDATE OF a
), entry AS (
    INSERT INTO ledger
           (account_id, kind, amount, balance_after, request_id, key_id, overrun, total,
            quantities, estimated, endpoint, model, actor, note,
            upstream_status, error_code, upstream_request_id, first_byte_ms, total_ms, streamed,
            output_cap, capped)
    SELECT $1, 'adjustment', charge - $3,
           -- A correction of 0 credits changes no balance.
           CASE WHEN charge <> $3 THEN balance + charge - $3 END, $2, key_id,
           greatest($3 - more - hold, 0) - overrun, $6 - total,
           (SELECT jsonb_object_agg(kind, quantity)
              FROM (SELECT kind, sum(quantity) AS quantity
                      FROM (SELECT key AS kind, value::bigint AS quantity
                              FROM jsonb_each_text($5::jsonb)
                             UNION ALL
                            SELECT key, -value::bigint FROM jsonb_each_text(quantities)) both_
                     GROUP BY kind
                    HAVING sum(quantity) <> 0) difference),
           $4, endpoint, model, 'proxy', 'true usage of a request that was charged by estimate',
           $7, $8, $9, $10, $11, $12, $13, $14
      FROM account
    ON CONFLICT (request_id, account_id)
          WHERE kind = 'adjustment' AND request_id IS NOT NULL AND rates IS NULL
    DO NOTHING
    RETURNING amount
)
UPDATE accounts SET balance = balance + entry.amount FROM entry WHERE id = $1
RETURNING balance, held
"""

ENDED: Final = """
-- $1 account, $2 request
-- The charge of a hold that has ended, null of one that was voided or has a tombstone, and the
-- account as it is now. A tombstone left while the hold was being ended says nothing.
SELECT CASE WHEN ended.state <> 'voided' THEN ended.charge END, a.balance, a.held
  FROM (SELECT e.state, -e.amount - later.amount AS charge, false AS is_tombstone
          FROM ledger e
         CROSS JOIN LATERAL (
               SELECT coalesce(sum(amount), 0)::bigint AS amount
                 FROM ledger
                WHERE request_id = $2 AND account_id + 0 = $1 AND kind = 'adjustment') later
         WHERE e.request_id = $2 AND e.account_id + 0 = $1 AND e.state IS NOT NULL
         UNION ALL
        SELECT 'voided', 0, true
          FROM open_holds
         WHERE request_id = $2 AND account_id = $1 AND amount = 0) ended
  JOIN accounts a ON a.id = $1
 ORDER BY is_tombstone
 LIMIT 1
"""
