"""Books of version 1: the statements of the release that wrote them, and what they say.

All of it is literal SQL, because the product knows version 1 only in its migration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncpg

KINDS: Final = (
    *("input", "cached_input", "output", "reasoning"),
    *("audio_input", "audio_output", "image_input", "image_output"),
)
TRACE: Final = (
    *("upstream_status", "error_code", "upstream_request_id", "first_byte_ms", "total_ms"),
    *("streamed", "output_cap", "capped"),
)

PLACE: Final = """
WITH account AS (
    UPDATE accounts SET held = held + $4
     WHERE id = $1 AND $4 <= balance - held + overdraft
    RETURNING id
)
INSERT INTO holds
       (account_id, request_id, key_id, amount, endpoint, model, known_input, lease_until,
        estimated_input, estimated_output, rates)
SELECT $1, $2, $3, $4, '/chat/completions', 'gpt-4o-mini', 11, now() + interval '60 s', 11, 99, $5
  FROM account
RETURNING amount
"""

RENEW: Final = """
UPDATE holds SET lease_until = now() + interval '60 s', known_input = 12, known_output = 7
 WHERE account_id = $1 AND request_id = $2 AND state = 'open'
"""

_CHARGE: Final = """
WITH hold AS (
    UPDATE holds
       SET state = '{state}', ended_at = now(){trace}
     WHERE account_id = $1 AND request_id = $2 AND state = 'open'
    RETURNING amount
), account AS (
    UPDATE accounts
       SET balance = balance - $3::bigint, held = held - hold.amount
      FROM hold
     WHERE id = $1
    RETURNING balance, held, hold.amount AS hold_amount
), entry AS (
    INSERT INTO ledger_entries
           (account_id, kind, amount, balance_after, request_id, actor, note, estimated)
    SELECT $1, 'charge', -$3, balance, $2, '{actor}', '{note}', {estimated}
      FROM account
), record AS (
    INSERT INTO usage
           (account_id, request_id, charge, estimated, input, cached_input, output, reasoning,
            audio_input, audio_output, image_input, image_output, total, overrun)
    SELECT $1, $2, $3, {estimated}, $3::bigint - 2, 1, 2, 1, 0, 0, 0, 0, $3,
           greatest($3 - hold_amount, 0)
      FROM account
)
SELECT balance, held FROM account
"""

SETTLE: Final = _CHARGE.format(
    state="settled",
    trace=", upstream_status = 200, upstream_request_id = 'req_1', total_ms = 321, streamed = true",
    actor="proxy",
    note="",
    estimated="false",
)

EXPIRE: Final = _CHARGE.format(
    state="expired",
    trace="",
    actor="sweep",
    note="its process was gone",
    estimated="true",
)

CORRECT: Final = """
WITH before AS (
    SELECT u.charge
      FROM usage u
      JOIN holds h ON h.account_id = u.account_id AND h.request_id = u.request_id
     WHERE u.account_id = $1 AND u.request_id = $2
       AND h.state = 'expired' AND u.corrected_at IS NULL
       FOR UPDATE OF u
), record AS (
    UPDATE usage u
       SET charge = $3::bigint, estimated = false, input = $3::bigint - 3, cached_input = 0,
           output = 3, total = $3,
           overrun = greatest($3 - h.amount, 0), corrected_at = now()
      FROM before, holds h
     WHERE u.account_id = $1 AND u.request_id = $2
       AND h.account_id = $1 AND h.request_id = $2
    RETURNING before.charge AS charged
), traced AS (
    UPDATE holds SET upstream_status = 200, total_ms = 4567, capped = false
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
           'true usage of a request that was charged by estimate', false
      FROM account
     WHERE charged <> $3
)
SELECT balance, held FROM account
"""

VOID: Final = """
WITH hold AS (
    UPDATE holds SET state = 'voided', ended_at = now(), upstream_status = 500, error_code = 'oh'
     WHERE account_id = $1 AND request_id = $2 AND state = 'open'
    RETURNING amount
)
UPDATE accounts SET held = held - hold.amount FROM hold WHERE id = $1
"""

LEAVE_TOMBSTONE: Final = """
INSERT INTO holds (account_id, request_id, key_id, amount, endpoint, state, ended_at)
VALUES ($1, $2, $3, 1, '/chat/completions', 'voided', now())
ON CONFLICT (account_id, request_id) DO NOTHING
"""

ENTER: Final = """
WITH account AS (
    UPDATE accounts SET balance = balance + $3 WHERE id = $1 RETURNING balance
)
INSERT INTO ledger_entries
       (account_id, kind, amount, balance_after, request_id, actor, note, idempotency_key, asked)
SELECT $1, $2, $3, balance, $4, 'root', 'why', $5, $6 FROM account
"""

SUM_UP: Final = (
    f"""
INSERT INTO usage_days
       (account_id, day, model, key_id, requests, total, charge, overrun, overruns, estimated,
        {", ".join(KINDS)})
SELECT u.account_id, (u.created_at AT TIME ZONE 'UTC')::date, coalesce(h.model, ''), h.key_id,
       count(*), sum(u.total), sum(u.charge), sum(u.overrun),
       count(*) FILTER (WHERE u.overrun > 0), count(*) FILTER (WHERE u.estimated),
       {", ".join(f"sum(u.{kind})" for kind in KINDS)}
  FROM usage u JOIN holds h USING (account_id, request_id)
 WHERE u.created_at < $1
 GROUP BY 1, 2, 3, 4
""",  # noqa: S608 - made of constants
    f"""
INSERT INTO usage_totals
       (day, model, requests, total, charge, overrun, overruns, estimated, {", ".join(KINDS)})
SELECT day, model, sum(requests), sum(total), sum(charge), sum(overrun), sum(overruns),
       sum(estimated), {", ".join(f"sum({kind})" for kind in KINDS)}
  FROM usage_days WHERE day < $1
 GROUP BY 1, 2
""",  # noqa: S608 - made of constants
    """
INSERT INTO usage_totals (day, model, voided)
SELECT (created_at AT TIME ZONE 'UTC')::date, coalesce(model, ''), count(*)
  FROM holds WHERE state = 'voided' AND created_at < $1
 GROUP BY 1, 2
    ON CONFLICT (day, model) DO UPDATE SET voided = excluded.voided
""",
    "UPDATE usage_summed SET until = $1",
)

VIOLATIONS: Final = """
SELECT format('account %s', a.id)
  FROM accounts a
 WHERE balance <> (SELECT coalesce(sum(amount), 0) FROM ledger_entries WHERE account_id = a.id)
    OR held <> (SELECT coalesce(sum(amount), 0) FROM holds
                 WHERE account_id = a.id AND state = 'open')
 UNION ALL
SELECT format('entry %s', id)
  FROM (SELECT id, balance_after - amount
               <> coalesce(lag(balance_after) OVER (PARTITION BY account_id ORDER BY id), 0) AS odd
          FROM ledger_entries) chain
 WHERE odd
 UNION ALL
SELECT format('request %s', h.request_id)
  FROM holds h
  LEFT JOIN usage u USING (account_id, request_id)
  LEFT JOIN ledger_entries c ON c.account_id = h.account_id AND c.request_id = h.request_id
   AND c.kind = 'charge'
  LEFT JOIN ledger_entries d ON d.account_id = h.account_id AND d.request_id = h.request_id
   AND d.kind = 'adjustment'
 WHERE (h.state IN ('settled', 'expired')) <> (c.id IS NOT NULL)
    OR (c.id IS NULL) <> (u.charge IS NULL)
    OR u.charge <> -c.amount - coalesce(d.amount, 0)
    OR h.rates IS NULL AND u.charge <> u.total
    OR u.overrun <> greatest(u.charge - h.amount, 0)
    OR u.corrected_at IS NOT NULL AND h.state <> 'expired'
    OR d.id IS NOT NULL AND u.corrected_at IS NULL
    OR c.estimated <> (h.state = 'expired' OR u.estimated)
"""
"""The invariants of version 1 as its `ledger verify` has them."""

WHAT_IT_SAYS: Final = {
    "accounts": "SELECT id, balance, held FROM accounts",
    "entries": (
        "SELECT id, account_id, kind, amount, balance_after, request_id, actor, note, estimated,"
        " created_at, idempotency_key, asked FROM ledger_entries"
    ),
    "requests": f"""
        SELECT h.account_id, h.request_id, h.key_id, h.amount, h.state, h.endpoint, h.model,
               h.created_at, h.ended_at, h.estimated_input, h.estimated_output, h.rates,
               {", ".join(f"h.{name}" for name in TRACE)},
               u.charge, u.total, u.overrun, u.estimated, u.created_at, u.corrected_at,
               {", ".join(f"u.{kind}" for kind in KINDS)}
          FROM holds h LEFT JOIN usage u USING (account_id, request_id)
         WHERE h.state <> 'open'
    """,  # noqa: S608 - made of constants
    "open holds": (
        "SELECT account_id, request_id, key_id, amount, endpoint, model, created_at, lease_until,"
        " known_input, known_output, estimated_input, estimated_output, rates"
        " FROM holds WHERE state = 'open'"
    ),
    "days": (
        "SELECT account_id, day, model, key_id, requests, total, charge, overrun, overruns,"  # noqa: S608 - made of constants
        f" estimated, {', '.join(KINDS)} FROM usage_days"
    ),
    "totals": (
        "SELECT day, model, requests, total, charge, overrun, overruns, estimated,"  # noqa: S608 - made of constants
        f" {', '.join(KINDS)} FROM usage_totals"
    ),
}

WHAT_VERSION_2_SAYS: Final = {
    "accounts": WHAT_IT_SAYS["accounts"],
    "entries": (
        "SELECT id, account_id, kind, amount, balance_after, request_id, actor, note, estimated,"
        " created_at, idempotency_key, asked FROM ledger WHERE balance_after IS NOT NULL"
    ),
    "requests": f"""
        SELECT e.account_id, e.request_id, e.key_id, e.hold, e.state, e.endpoint, e.model,
               e.started_at, e.created_at, e.estimated_input, e.estimated_output, e.rates,
               {", ".join(f"coalesce(c.{name}, e.{name})" for name in TRACE)},
               CASE kind WHEN 'charge' THEN -e.amount - coalesce(c.amount, 0) END,
               CASE kind WHEN 'charge' THEN e.total + coalesce(c.total, 0) END,
               CASE kind WHEN 'charge' THEN e.overrun + coalesce(c.overrun, 0) END,
               CASE kind WHEN 'charge' THEN coalesce(c.estimated, e.estimated) END,
               CASE kind WHEN 'charge' THEN e.created_at END, c.created_at,
               {
        ", ".join(
            f"CASE kind WHEN 'charge' THEN coalesce((e.quantities->>'{kind}')::bigint, 0)"
            f" + coalesce((c.quantities->>'{kind}')::bigint, 0) END"
            for kind in KINDS
        )
    }
          FROM ledger e
          LEFT JOIN (SELECT account_id, request_id, created_at, amount, total, overrun, estimated,
                            quantities, {", ".join(TRACE)}
                       FROM ledger WHERE kind = 'adjustment' AND request_id IS NOT NULL) c
            ON c.account_id = e.account_id AND c.request_id = e.request_id
         WHERE e.state IS NOT NULL
    """,  # noqa: S608 - made of constants
    "open holds": (
        "SELECT account_id, request_id, key_id, amount, endpoint, model, created_at, lease_until,"
        " known_input, known_output, estimated_input, estimated_output, rates"
        " FROM open_holds WHERE amount > 0"
    ),
    "days": f"""
        SELECT d.account_id, d.day, d.model, d.key_id, requests, total, charge, overrun, overruns,
               estimated, {
        ", ".join(
            f"coalesce((SELECT quantity FROM usage_day_kinds k WHERE k.kind = '{kind}'"
            " AND (k.account_id, k.day, k.model, k.key_id)"
            " = (d.account_id, d.day, d.model, d.key_id)), 0)"
            for kind in KINDS
        )
    }
          FROM usage_days d
    """,  # noqa: S608 - made of constants
    "totals": f"""
        SELECT d.day, d.model, requests, total, charge, overrun, overruns, estimated, {
        ", ".join(
            f"coalesce((SELECT quantity FROM usage_total_kinds k WHERE k.kind = '{kind}'"
            " AND (k.day, k.model) = (d.day, d.model)), 0)"
            for kind in KINDS
        )
    }
          FROM usage_totals d
    """,  # noqa: S608 - made of constants
}


def as_text(statement: str) -> str:
    """Let a statement return each row as text, in the order of these texts."""
    return f"SELECT said::text FROM ({statement}) said ORDER BY 1"  # noqa: S608 - made of constants


async def said(
    connection: asyncpg.Connection[asyncpg.Record], by: dict[str, str]
) -> dict[str, list[str]]:
    """Read what the books say, each row as text."""
    return {
        what: [row[0] for row in await connection.fetch(as_text(statement))]
        for what, statement in by.items()
    }
