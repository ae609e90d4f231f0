"""Limits: how holds take from their rows and give back, and how their counts are read.

A row is changed only while its account is locked, by a statement that has locked the account first.
So whoever has the account reads what is true, if the row is read as it is now and not as it was
when the statement began: by an UPDATE, or by locking it.

A rate is a bucket that holds its limit and fills within a minute; `taken_until` says when it is
full again. What a number takes from it is a span of whole microseconds, rounded down, so that of a
limit of 7 there fit 7. More than 10^11 count as that many, so that no product is too large.
"""

from typing import Final


def of_unit(*, tokens: str, credits_: str, others: str) -> str:
    """Write what is counted by the unit of the limit `l`."""
    return (
        f"CASE l.unit WHEN 'tokens' THEN {tokens} WHEN 'credits' THEN {credits_} ELSE {others} END"
    )


def _span(number: str) -> str:
    return f"least({number}, 100000000000) * 60000000 / greatest(l.amount, 1)"


def _later(span: str) -> str:
    return f"greatest(l.taken_until, now()) + ({span}) * interval '1 microsecond'"


_IS_NOW: Final = "now() >= l.window_start AND now() < l.window_end"

# Removes nothing. Without it the planner expects so many that it reads the whole table.
_FEW: Final = "(SELECT 1000000000)"

_BACKLOG: Final = "(extract(epoch FROM greatest(taken_until, now()) - now()) * 1000000)::bigint"

JUDGING: Final = f"""asked AS (
    SELECT *, {of_unit(tokens="tokens", credits_="credits", others="requests")} AS number,
           {_BACKLOG} AS backlog
      FROM pair l
), judged AS (
    SELECT *, {_IS_NOW} AS is_now,
           {_IS_NOW}
           AND (number = 0
                OR number <= amount
                   AND CASE period WHEN 'minute' THEN backlog + {_span("number")} <= 60000000
                       ELSE number <= amount - used - reserved END) AS fits
      FROM asked l
)"""  # noqa: S608 - made of constants
"""Judges each limit by itself: `pair` has its columns, and the requests, tokens and credits that
are asked of it."""

TAKING: Final = f"""took AS (
    UPDATE limits l
       SET taken_until = CASE period
                         WHEN 'minute' THEN {
    _later(_span(of_unit(tokens="tokens", credits_="credits", others="holds")))
}
                         ELSE taken_until END,
           reserved = reserved + CASE period WHEN 'minute' THEN 0 ELSE {
    of_unit(tokens="tokens", credits_="credits", others="holds")
} END
      FROM (SELECT account_id, limit_id, count(*) AS holds, sum(tokens)::bigint AS tokens,
                   sum(amount)::bigint AS credits
              FROM placed, unnest(limit_ids) AS limit_id
             GROUP BY account_id, limit_id
             LIMIT {_FEW}) t
     WHERE l.account_id = t.account_id AND l.id = t.limit_id
    RETURNING l.*
), room AS (
    SELECT array_agg(ARRAY[
               id, (unit = 'tokens')::int, amount,
               CASE period
               WHEN 'minute'
               THEN greatest(least(amount, 100000000000) * (60000001 - backlog) - 1, 0) / 60000000
               ELSE greatest(amount - used - reserved, 0) END,
               CASE WHEN period = 'minute' THEN backlog
                    ELSE (extract(epoch FROM window_end - now()) * 1000000)::bigint END]) AS rooms
      FROM (SELECT *, {_BACKLOG} AS backlog
              FROM took
             WHERE unit IN ('requests', 'tokens') AND (period = 'minute' OR isfinite(window_end))
           ) took
)"""  # noqa: S608 - made of constants
"""Takes from the limits of the holds in `placed`. A room is what a limit leaves then, as
`placements` reads it, if it is one that time gives back."""


def giving(*, tokens: str, credits_: str) -> str:
    """Write what gives back to the limits of the hold in `account`, and counts what was used.

    A limit whose window has begun after the hold knows nothing of it.

    Args:
        tokens: how many were used.
        credits_: likewise.

    """
    taken = of_unit(tokens="h.tokens", credits_="h.amount", others="1")
    used = f"CASE l.unit WHEN 'tokens' THEN {tokens} WHEN 'credits' THEN {credits_}"
    used += " WHEN 'requests' THEN 1 ELSE 0 END"
    return f""", given AS (
    UPDATE limits l
       SET taken_until = CASE period
                         WHEN 'minute' THEN greatest({_later(f"{_span(used)} - {_span(taken)}")},
                                                     now())
                         ELSE taken_until END,
           reserved = CASE period WHEN 'minute' THEN 0 ELSE greatest(reserved - ({taken}), 0) END,
           used = CASE period WHEN 'minute' THEN 0 ELSE used + ({used}) END
      FROM (SELECT account.*, limit_id FROM account, unnest(limit_ids) AS limit_id LIMIT {_FEW}) h
     WHERE l.account_id = $1 AND l.id = limit_id
       AND h.created_at >= l.window_start
)"""  # noqa: S608 - made of constants


def _counted(*, tokens: str, credits_: str, requests: str, holds: str) -> str:
    """Write the sum over the holds of `g`; but for those placed before the window of `l` began."""
    of_all = f"""CASE l.unit WHEN 'tokens' THEN sum_of_{tokens}
                        WHEN 'credits' THEN sum_of_{credits_}
                        WHEN 'requests' THEN {requests} * holds ELSE {holds} * holds END"""
    return f"""CASE WHEN g.oldest >= l.window_start THEN {of_all}
                 ELSE (
                   SELECT coalesce(sum(
                              CASE l.unit WHEN 'tokens' THEN h.{tokens}
                                          WHEN 'credits' THEN h.{credits_}
                                          WHEN 'requests' THEN {requests} ELSE {holds} END), 0)
                     FROM unnest(g.created, g.tokens, g.amounts, g.totals, g.charges)
                          AS h (created_at, tokens, amount, total, charge)
                    WHERE h.created_at >= l.window_start)::bigint
                 END"""  # noqa: S608 - made of constants


def _given_of_many() -> str:
    taken = _counted(tokens="tokens", credits_="amount", requests="1", holds="1")
    used = _counted(tokens="total", credits_="charge", requests="1", holds="0")
    span = " - ".join(
        _span(of_unit(tokens=f"sum_of_{tokens}", credits_=f"sum_of_{credits_}", others="holds"))
        for tokens, credits_ in (("total", "charge"), ("tokens", "amount"))
    )
    return f""", given AS (
    UPDATE limits l
       SET taken_until = CASE period WHEN 'minute' THEN greatest({_later(span)}, now())
                         ELSE taken_until END,
           reserved = CASE period WHEN 'minute' THEN 0 ELSE greatest(reserved - {taken}, 0) END,
           used = CASE period WHEN 'minute' THEN 0 ELSE used + {used} END
      FROM (SELECT account_id, limit_id, count(*) AS holds, min(created_at) AS oldest,
                   sum(tokens)::bigint AS sum_of_tokens, sum(amount)::bigint AS sum_of_amount,
                   sum(total)::bigint AS sum_of_total, sum(charge)::bigint AS sum_of_charge,
                   array_agg(created_at) AS created, array_agg(tokens) AS tokens,
                   array_agg(amount) AS amounts, array_agg(total) AS totals,
                   array_agg(charge) AS charges
              FROM ended, unnest(limit_ids) AS limit_id
             GROUP BY account_id, limit_id
             LIMIT {_FEW}) g
     WHERE l.account_id = g.account_id AND l.id = g.limit_id
)"""  # noqa: S608 - made of constants


GIVEN_OF_MANY: Final = _given_of_many()
"""As `giving`, for the holds in `ended`."""

LIMITS: Final = """
-- $1 account, $2 subjects
-- The counts, in one fixed order of subjects, and what decides when their windows begin and end.
SELECT l.id, l.subject, l.name, l.unit, l.period, l.amount, l.used, l.reserved,
       greatest(l.taken_until, now()) AS taken_until, l.window_end, l.anchor, l.created_at,
       a.time_zone, now() AS at
  FROM (SELECT * FROM unnest($2::text[]) LIMIT (SELECT cardinality($2))) asked (subject)
  JOIN accounts a ON a.id = $1
 CROSS JOIN LATERAL (
       SELECT * FROM limits WHERE account_id = $1 AND subject = asked.subject OFFSET 0) l
"""

ENTER_WINDOW: Final = """
-- $1 account, $2 limit, $3 end of its window before, $4 and $5 the window to be entered
-- By compare-and-set, while the account is locked. Windows never overlap, even if the time zone of
-- the account has changed: what was taken in one window is given back to no other.
WITH account AS (
    SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE
)
UPDATE limits
   SET window_start = greatest($4, window_end), window_end = $5, used = 0, reserved = 0
  FROM account
 WHERE account_id = $1 AND limits.id = $2 AND window_end = $3 AND window_end < $5
"""

OPEN_END_USER: Final = """
-- $1 account, $2 subject, $3 names, $4 units, $5 periods, $6 amounts, $7 ends of windows that have
-- never begun
-- Makes these the limits of the subject. What has been taken from a limit stays taken.
WITH account AS (
    SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE
), removed AS (
    DELETE FROM limits l
     USING account
     WHERE l.account_id = $1 AND l.subject = $2 AND l.name <> ALL ($3::text[])
       AND l.name NOT LIKE 'budget:%'
)
INSERT INTO limits AS l (account_id, subject, name, unit, period, amount, window_end)
SELECT account.id, $2, name, unit, period, amount, coalesce(window_end, 'infinity')
  FROM account,
       unnest($3::text[], $4::text[], $5::text[], $6::bigint[], $7::timestamptz[])
       AS item (name, unit, period, amount, window_end)
    ON CONFLICT (account_id, subject, name) DO UPDATE SET amount = excluded.amount
 WHERE l.amount <> excluded.amount
"""
