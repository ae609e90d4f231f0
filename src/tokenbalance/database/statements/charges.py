"""Ends of holds that charge: settle, expire, and the correction of an estimated charge.

They all start with the same parameters, those of `Settlement.arguments` in `books.ledger`. Those
of a living process go on with a `Trace`.
"""

from typing import Final

# The compare-and-set on the hold's state makes a charge happen only once: if it finds no open hold,
# none of the steps after it finds a row.
_CHARGE: Final = """
-- $1 account, $2 request, $3 charge, $4 estimated,
-- $5..$13 input, cached input, output, reasoning, audio input, audio output, image input,
-- image output, total
WITH hold AS (
    UPDATE holds
       SET state = '{state}', ended_at = now(){trace}
     WHERE account_id = $1 AND request_id = $2 AND state = 'open'{only_if}
    RETURNING amount
), account AS (
    UPDATE accounts
       SET balance = balance - $3, held = held - hold.amount
      FROM hold
     WHERE id = $1
    RETURNING balance, held, hold.amount AS hold_amount
), entry AS (
    INSERT INTO ledger_entries
           (account_id, kind, amount, balance_after, request_id, actor, note, estimated)
    SELECT $1, 'charge', -$3, balance, $2, '{actor}', '{note}', $4
      FROM account
), record AS (
    INSERT INTO usage
           (account_id, request_id, charge, estimated, input, cached_input, output, reasoning,
            audio_input, audio_output, image_input, image_output, total, overrun)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, greatest($3 - hold_amount, 0)
      FROM account
)
SELECT balance, held FROM account
"""

_TRACE: Final = """,
           -- $14..$21 a trace
           upstream_status = $14, error_code = $15, upstream_request_id = $16,
           first_byte_ms = $17, total_ms = $18, streamed = $19, output_cap = $20, capped = $21"""

SETTLE: Final = _CHARGE.format(state="settled", trace=_TRACE, only_if="", actor="proxy", note="")

_SETTLE_MANY: Final = """
-- $1 accounts, $2 requests, $3 charges, $4 estimated,
-- $5..$13 input, cached input, output, reasoning, audio input, audio output, image input,
-- image output, total, $14..$21 upstream status, error code, upstream request id,
-- milliseconds to the first byte and in all, streamed, output cap, capped
-- SETTLE for many: the compare-and-set of each hold, then each account's row once, then the entries
-- in order. Holds that are locked, not open or listed twice are left to SETTLE. So is a hold that
-- a heartbeat renews at this very moment: this snapshot does not see its new row version.
WITH item AS (
    SELECT *
      FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::boolean[], $5::bigint[], $6::bigint[],
                  $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
                  $12::bigint[], $13::bigint[], $14::smallint[], $15::text[], $16::text[],
                  $17::integer[], $18::integer[], $19::boolean[], $20::bigint[], $21::boolean[])
           WITH ORDINALITY AS item (account_id, request_id, charge, estimated, input, cached_input,
                                    output, reasoning, audio_input, audio_output, image_input,
                                    image_output, total, upstream_status, error_code,
                                    upstream_request_id, first_byte_ms, total_ms, streamed,
                                    output_cap, capped, number)
     LIMIT (SELECT cardinality($1))
), hold AS (
    SELECT item.*, h.place, a.balance, a.held
      FROM item
     CROSS JOIN LATERAL (
           SELECT account_id, ctid AS place
             FROM holds
            WHERE account_id = item.account_id AND request_id = item.request_id AND state = 'open'
              FOR NO KEY UPDATE SKIP LOCKED) h
      JOIN accounts a ON a.id = h.account_id
       FOR NO KEY UPDATE OF a{or_skip}
), ended AS (
    UPDATE holds h
       SET state = 'settled', ended_at = now(),
           upstream_status = hold.upstream_status, error_code = hold.error_code,
           upstream_request_id = hold.upstream_request_id, first_byte_ms = hold.first_byte_ms,
           total_ms = hold.total_ms, streamed = hold.streamed, output_cap = hold.output_cap,
           capped = hold.capped
      FROM hold
     WHERE h.ctid = hold.place
    RETURNING hold.*, h.amount
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
    INSERT INTO ledger_entries
           (account_id, kind, amount, balance_after, request_id, actor, note, estimated)
    SELECT account_id, 'charge', -charge, balance_after, request_id, 'proxy', '', estimated
      FROM charged
     ORDER BY number
), record AS (
    INSERT INTO usage
           (account_id, request_id, charge, estimated, input, cached_input, output, reasoning,
            audio_input, audio_output, image_input, image_output, total, overrun)
    SELECT account_id, request_id, charge, estimated, input, cached_input, output, reasoning,
           audio_input, audio_output, image_input, image_output, total,
           greatest(charge - amount, 0)
      FROM charged
)
SELECT number, balance_after, held_after FROM charged
"""

SETTLE_MANY: Final = _SETTLE_MANY.format(or_skip=" SKIP LOCKED")

SETTLE_MANY_OF_ONE: Final = _SETTLE_MANY.format(or_skip="")

EXPIRE: Final = _CHARGE.format(
    state="expired",
    trace="",
    # $14: the process is known to be gone. Otherwise the lease must have ended by this clock.
    only_if=" AND ($14 OR lease_until < now())",
    actor="sweep",
    note="its process was gone",
)

CORRECT: Final = """
-- Parameters as those of a settlement.
-- The true usage of a request whose hold had already expired: the difference goes to the ledger,
-- and the usage record is overwritten. Happens once, by compare-and-set on corrected_at.
WITH before AS (
    SELECT u.charge
      FROM usage u
      JOIN holds h ON h.account_id = u.account_id AND h.request_id = u.request_id
     WHERE u.account_id = $1 AND u.request_id = $2
       AND h.state = 'expired' AND u.corrected_at IS NULL
       FOR UPDATE OF u
), record AS (
    UPDATE usage u
       SET charge = $3, estimated = $4, input = $5, cached_input = $6, output = $7,
           reasoning = $8, audio_input = $9, audio_output = $10, image_input = $11,
           image_output = $12, total = $13,
           overrun = greatest($3 - h.amount, 0), corrected_at = now()
      FROM before, holds h
     WHERE u.account_id = $1 AND u.request_id = $2
       AND h.account_id = $1 AND h.request_id = $2
    RETURNING before.charge AS charged
), traced AS (
    UPDATE holds
       SET upstream_status = $14, error_code = $15, upstream_request_id = $16,
           first_byte_ms = $17, total_ms = $18, streamed = $19, output_cap = $20, capped = $21
      FROM record
     WHERE account_id = $1 AND request_id = $2
    RETURNING charged
), account AS (
    UPDATE accounts SET balance = balance + charged - $3 FROM traced WHERE id = $1
    RETURNING balance, held, charged
), entry AS (
    INSERT INTO ledger_entries
           (account_id, kind, amount, balance_after, request_id, actor, note, estimated)
    SELECT $1, 'adjustment', charged - $3, balance, $2, 'proxy',
           'true usage of a request that was charged by estimate', $4
      FROM account
     WHERE charged <> $3
)
SELECT balance, held FROM account
"""

ENDED: Final = """
-- $1 account, $2 request
-- The charge of a hold that has ended, and the account as it is now.
SELECT u.charge, a.balance, a.held
  FROM holds h
  JOIN accounts a ON a.id = h.account_id
  LEFT JOIN usage u ON u.account_id = h.account_id AND u.request_id = h.request_id
 WHERE h.account_id = $1 AND h.request_id = $2
"""
