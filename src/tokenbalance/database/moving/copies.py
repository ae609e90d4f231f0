"""The statements that copy version 1 to version 2; SQL text only.

An entry of the ledger keeps its id. Rows that had no entry, voids and corrections of 0 credits, get
ids far below 0, in ascending order.
"""

from __future__ import annotations

from typing import Final

from tokenbalance.database.moving.new_tables import KINDS

FIRST_MADE_ID: Final = -(2**52)
"""Ids that the move gives lie between this and 0: each is a safe integer in JSON."""

MOVE_TABLES: Final = (
    """
    CREATE TABLE books_move (
        single boolean PRIMARY KEY DEFAULT true CHECK (single),
        entries_until bigint NOT NULL DEFAULT 0,
        holds_until text NOT NULL DEFAULT '',
        ids_made bigint NOT NULL DEFAULT 0,
        all_holds boolean NOT NULL DEFAULT false
    )
    """,
    "INSERT INTO books_move DEFAULT VALUES",
    "CREATE TABLE books_move_changes (account_id bigint NOT NULL, request_id text NOT NULL)",
    """
    CREATE FUNCTION note_books_move_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO books_move_changes VALUES (NEW.account_id, NEW.request_id);
        RETURN NULL;
    END
    $$
    """,
    # All else is final once it can be read: entries are append-only, and so is the usage of a
    # request that has settled. The request path only evaluates the condition.
    """
    CREATE TRIGGER books_move_voided AFTER INSERT OR UPDATE ON holds
    FOR EACH ROW WHEN (NEW.state = 'voided') EXECUTE FUNCTION note_books_move_change()
    """,
    """
    CREATE TRIGGER books_move_corrected AFTER UPDATE ON usage
    FOR EACH ROW EXECUTE FUNCTION note_books_move_change()
    """,
)
"""How far the move is, and what changes behind its back."""

PLANS: Final = """
SELECT set_config(name, 'off', true)
  FROM unnest('{enable_hashjoin,enable_mergejoin,enable_seqscan,jit}'::text[]) name
"""
"""Each row of a batch is looked up by its key, whatever the planner believes of the tables: it may
know no statistics, and one scan of a table for each batch would never end."""

TRACE: Final = (
    *("upstream_status", "error_code", "upstream_request_id", "first_byte_ms", "total_ms"),
    *("streamed", "output_cap", "capped"),
)
_OF_THE_HOLD: Final = "hold, rates, started_at, estimated_input, estimated_output, " + ", ".join(
    TRACE
)
_FROM_THE_HOLD: Final = (
    "h.amount, h.rates, h.created_at, h.estimated_input, h.estimated_output, "
    + ", ".join(f"h.{name}" for name in TRACE)
)
_QUANTITIES: Final = (
    "nullif(jsonb_strip_nulls(jsonb_build_object("
    + ", ".join(f"'{kind}', nullif(u.{kind}, 0)" for kind in KINDS)
    + ")), '{}')"
)

BATCH_OF_ENTRIES: Final = """
-- $1 after, $2 until, $3 how many
SELECT max(id), count(*)
  FROM (SELECT id FROM ledger_entries WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3) batch
"""

CHARGES: Final = f"""
-- $1 after, $2 until
INSERT INTO ledger
       (id, account_id, created_at, kind, state, amount, balance_after, request_id, key_id,
        endpoint, model, {_OF_THE_HOLD},
        overrun, total, quantities, estimated, actor, note, idempotency_key, asked)
OVERRIDING SYSTEM VALUE
SELECT e.id, e.account_id, e.created_at, e.kind, h.state, e.amount, e.balance_after, e.request_id,
       h.key_id, h.endpoint, h.model, {_FROM_THE_HOLD},
       greatest(-e.amount - h.amount, 0), u.total, {_QUANTITIES},
       e.estimated, e.actor, e.note, e.idempotency_key, e.asked
  FROM ledger_entries e
  JOIN holds h ON h.account_id = e.account_id AND h.request_id = e.request_id
  JOIN usage u ON u.account_id = e.account_id AND u.request_id = e.request_id
 WHERE e.id > $1 AND e.id <= $2 AND e.kind = 'charge'
 ORDER BY e.id
"""  # noqa: S608 - made of constants

# The usage says what a correction has made of the charge.
OTHERS: Final = """
-- $1 after, $2 until
INSERT INTO ledger
       (id, account_id, created_at, kind, amount, balance_after, request_id, key_id, endpoint,
        model, overrun, estimated, actor, note, idempotency_key, asked)
OVERRIDING SYSTEM VALUE
SELECT e.id, e.account_id, e.created_at, e.kind, e.amount, e.balance_after, e.request_id,
       h.key_id, h.endpoint, h.model,
       coalesce(u.overrun - greatest(u.charge + e.amount - h.amount, 0), 0),
       e.estimated, e.actor, e.note, e.idempotency_key, e.asked
  FROM ledger_entries e
  LEFT JOIN holds h ON e.kind = 'adjustment'
   AND h.account_id = e.account_id AND h.request_id = e.request_id
  LEFT JOIN usage u ON u.account_id = h.account_id AND u.request_id = h.request_id
 WHERE e.id > $1 AND e.id <= $2 AND e.kind <> 'charge'
 ORDER BY e.id
"""

NOT_COPIED: Final = """
-- $1 after, $2 until
SELECT e.id
  FROM ledger_entries e
  LEFT JOIN holds h ON h.account_id = e.account_id AND h.request_id = e.request_id
  LEFT JOIN usage u ON u.account_id = e.account_id AND u.request_id = e.request_id
 WHERE e.id > $1 AND e.id <= $2 AND e.kind = 'charge'
   AND (h.request_id IS NULL OR u.request_id IS NULL)
 ORDER BY e.id
 LIMIT 1
"""

_CORRECTION: Final = """
INSERT INTO ledger
       (id, account_id, created_at, kind, amount, request_id, key_id, endpoint, model, estimated,
        actor, note)
OVERRIDING SYSTEM VALUE
SELECT {id}, u.account_id, u.corrected_at, 'adjustment', 0, u.request_id,
       {of}.key_id, {of}.endpoint, {of}.model, u.estimated, 'proxy',
       'true usage of a request that was charged by estimate'
"""

# Version 1 has an entry of a correction only if the charge was wrong.
CORRECTIONS: Final = f"""
-- $1 after, $2 until, $3 the last id that the move gave
{_CORRECTION.format(id="$3 + row_number() OVER (ORDER BY e.id)", of="h")}
  FROM ledger_entries e
  JOIN usage u ON u.account_id = e.account_id AND u.request_id = e.request_id
  JOIN holds h ON h.account_id = e.account_id AND h.request_id = e.request_id
 WHERE e.id > $1 AND e.id <= $2 AND e.kind = 'charge' AND e.estimated
   AND u.corrected_at IS NOT NULL AND u.charge = -e.amount
"""

BATCH_OF_HOLDS: Final = """
-- $1 after, $2 how many
SELECT max(request_id), count(*)
  FROM (SELECT request_id FROM holds WHERE request_id > $1
         ORDER BY request_id FETCH FIRST $2 ROWS WITH TIES) batch
"""

_VOID: Final = f"""
INSERT INTO ledger
       (id, account_id, created_at, kind, state, amount, request_id, key_id, endpoint, model,
        {_OF_THE_HOLD}, actor)
OVERRIDING SYSTEM VALUE
SELECT {{id}}, h.account_id, h.ended_at, 'void', 'voided', 0, h.request_id, h.key_id, h.endpoint,
       h.model, {_FROM_THE_HOLD}, 'proxy'
"""

VOIDS: Final = f"""
-- $1 after, $2 until, $3 the last id that the move gave
{_VOID.format(id="$3 + row_number() OVER (ORDER BY h.request_id)")}
  FROM holds h
 WHERE h.request_id > $1 AND h.request_id <= $2 AND h.state = 'voided'
"""

# One statement, so that what it reads of a request is as new as the note of its change. Each
# request uses up two ids. A charge that is not in the ledger yet will be read as it is now.
CHANGES: Final = f"""
-- $1 the last id that the move gave, $2 how many
WITH noted AS (
    DELETE FROM books_move_changes
     WHERE ctid = ANY (ARRAY (SELECT ctid FROM books_move_changes LIMIT $2))
    RETURNING account_id, request_id
), request AS MATERIALIZED (
    SELECT account_id, request_id, $1 + 2 * row_number() OVER (ORDER BY request_id) AS made
      FROM (SELECT DISTINCT account_id, request_id FROM noted) once
), voided AS (
    {_VOID.format(id="r.made")}
      FROM request r
      JOIN holds h ON h.account_id = r.account_id AND h.request_id = r.request_id
     WHERE h.state = 'voided'
     ORDER BY r.made
    ON CONFLICT (request_id, account_id) WHERE state IS NOT NULL DO NOTHING
), corrected AS (
    UPDATE ledger l
       SET total = u.total, quantities = {_QUANTITIES},
           ({", ".join(TRACE)}) = ROW ({", ".join(f"h.{name}" for name in TRACE)})
      FROM request r
      JOIN usage u ON u.account_id = r.account_id AND u.request_id = r.request_id
      JOIN holds h ON h.account_id = r.account_id AND h.request_id = r.request_id
     WHERE l.request_id = r.request_id AND l.account_id = r.account_id AND l.state IS NOT NULL
       AND l.kind = 'charge' AND u.corrected_at IS NOT NULL
    RETURNING r.made, l.amount, l.request_id, l.account_id, l.key_id, l.endpoint, l.model
), correction AS (
    {_CORRECTION.format(id="c.made - 1", of="c")}
      FROM corrected c
      JOIN usage u ON u.account_id = c.account_id AND u.request_id = c.request_id
     WHERE u.charge = -c.amount
    ON CONFLICT (request_id, account_id) WHERE kind = 'adjustment' AND request_id IS NOT NULL
    DO NOTHING
)
SELECT count(*), coalesce(max(made), $1) FROM request
"""  # noqa: S608 - made of constants

OPEN_HOLDS: Final = """
INSERT INTO open_holds
       (request_id, account_id, key_id, amount, created_at, lease_until, known_input, known_output,
        estimated_input, estimated_output, endpoint, model, rates)
SELECT request_id, account_id, key_id, amount, created_at, lease_until, known_input, known_output,
       estimated_input, estimated_output, endpoint, model, rates
  FROM holds
 WHERE state = 'open'
"""

BATCH_OF_DAYS: Final = """
-- $1 after, $2 how many
SELECT max(account_id), count(*)
  FROM (SELECT account_id FROM usage_days WHERE account_id > $1
         ORDER BY account_id FETCH FIRST $2 ROWS WITH TIES) batch
"""

_EACH_KIND: Final = (
    "CROSS JOIN LATERAL (VALUES "
    + ", ".join(f"('{kind}', d.{kind})" for kind in KINDS)
    + ") k (kind, quantity)"
)

DAYS: Final = f"""
-- $1 after, $2 until
INSERT INTO usage_day_kinds (account_id, day, model, key_id, kind, quantity)
SELECT d.account_id, d.day, d.model, d.key_id, k.kind, k.quantity
  FROM usage_days d {_EACH_KIND}
 WHERE d.account_id > $1 AND d.account_id <= $2 AND k.quantity <> 0
"""  # noqa: S608 - made of constants

TOTALS: Final = f"""
INSERT INTO usage_total_kinds (day, model, kind, quantity)
SELECT d.day, d.model, k.kind, k.quantity FROM usage_totals d {_EACH_KIND} WHERE k.quantity <> 0
"""  # noqa: S608 - made of constants

# Version 1 has the usage of a corrected request on the day of its end. Version 2 has the correction
# on its own day, so both days are summed again.
CHANGED_DAYS: Final = """
-- $1 corrections with larger ids, $2 those that the move made with larger ids
INSERT INTO usage_changes (day)
SELECT DISTINCT unnest(ARRAY[days.of_end, days.of_correction])
  FROM ledger c
  JOIN ledger e ON e.request_id = c.request_id AND e.account_id = c.account_id
   AND e.state IS NOT NULL
 CROSS JOIN LATERAL (SELECT (e.created_at AT TIME ZONE 'UTC')::date AS of_end,
                            (c.created_at AT TIME ZONE 'UTC')::date AS of_correction) days
 WHERE c.kind = 'adjustment' AND c.state IS NULL AND c.request_id IS NOT NULL
   AND (c.id > $1 OR c.id < 0 AND c.id > $2)
   AND days.of_end <> days.of_correction
"""

# Version 1 sums a void up when its request began, version 2 when it ended. Those on both sides of
# the moment up to which all is summed must not be counted twice, or never.
VOIDS_SUMMED: Final = """
UPDATE usage_totals t
   SET voided = t.voided {sign} moved.number
  FROM (SELECT (l.started_at AT TIME ZONE 'UTC')::date AS day, coalesce(l.model, '') AS model,
               count(*) AS number
          FROM usage_summed s
          JOIN ledger l ON l.created_at >= s.until AND l.started_at < s.until
         -- Nothing is summed yet at the very first moment, and all rows are later.
         WHERE l.kind = 'void' AND s.until > '1970-01-01 00:00:00+00'
         GROUP BY 1, 2) moved
 WHERE t.day = moved.day AND t.model = moved.model
"""

ENTRIES_DIFFER: Final = """
-- $1 until
SELECT o.number <> n.number OR o.amounts <> n.amounts OR o.balances <> n.balances,
       o.number, n.number
  FROM (SELECT count(*) AS number, coalesce(sum(amount), 0) AS amounts,
               coalesce(sum(balance_after), 0) AS balances
          FROM ledger_entries WHERE id <= $1) o,
       (SELECT count(*) AS number, coalesce(sum(amount), 0) AS amounts,
               coalesce(sum(balance_after), 0) AS balances
          FROM ledger WHERE id <= $1 AND id > 0) n
"""

VOIDS_MISSING: Final = """
SELECT count(*)
  FROM holds h
 WHERE h.state = 'voided'
   AND NOT EXISTS (SELECT FROM ledger l
                    WHERE l.request_id = h.request_id COLLATE "C" AND l.account_id = h.account_id
                      AND l.state IS NOT NULL)
   AND NOT EXISTS (SELECT FROM books_move_changes c
                    WHERE c.request_id = h.request_id AND c.account_id = h.account_id)
"""
