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
FEW: Final = "(SELECT 1000000000)"

ASKED: Final = f"""l.account_id, l.id, l.subject, l.unit, l.period, l.amount, l.used,
           l.reserved, l.taken_until, l.window_start, l.window_end,
           {of_unit(tokens="tokens", credits_="credits", others="requests")} AS number"""
"""What `JUDGING` reads of a limit; the requests, tokens and credits beside it are asked of it."""

_SPAN: Final = _span("number")

JUDGING: Final = f"""judged AS (
    SELECT l.account_id, l.id, l.subject, {_IS_NOW} AS is_now,
           CASE period WHEN 'minute' THEN {_later(_SPAN)} ELSE taken_until END AS taken_until,
           CASE period WHEN 'minute' THEN 0 ELSE number END AS reserving,
           {_IS_NOW}
           AND (number = 0
                OR CASE WHEN number > amount THEN false
                        WHEN period = 'minute'
                        THEN {_later(_SPAN)} <= now() + interval '1 minute'
                        ELSE number <= amount - used - reserved END) AS fits
      FROM pair l
)"""  # noqa: S608 - made of constants
"""Judges each limit of `pair` by itself, and says what it is once the number is taken."""


def taking(accepted: str) -> str:
    """Write what takes from limits that were judged, and tells what they leave.

    Only those are told that time gives back: of requests and tokens. `remaining` is null for a
    rate; how much a rate leaves is in the time until it is full.

    Args:
        accepted: a SELECT of those of `judged` that are taken from.

    """
    return f"""took AS (
    UPDATE limits l
       SET taken_until = j.taken_until, reserved = l.reserved + j.reserving
      FROM ({accepted} LIMIT {FEW}) j
     WHERE l.account_id = j.account_id AND l.id = j.id
    RETURNING l.id, l.unit, l.amount, l.period, l.used, l.reserved, l.taken_until, l.window_end
), room AS (
    SELECT id, unit, amount AS most,
           CASE WHEN period <> 'minute' THEN amount - used - reserved END AS remaining,
           CASE period WHEN 'minute' THEN greatest(taken_until, now()) ELSE window_end END - now()
               AS full_in
      FROM took
     WHERE unit IN ('requests', 'tokens') AND (period = 'minute' OR isfinite(window_end))
)"""  # noqa: S608 - made of constants


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
             LIMIT {FEW}) t
     WHERE l.account_id = t.account_id AND l.id = t.limit_id
)"""  # noqa: S608 - made of constants
"""Takes from the limits of the holds in `placed`, whether that fits or not."""

# A request stays made, so a rate of requests gets nothing back.
_GIVES_BACK: Final = "(l.period <> 'minute' OR l.unit <> 'requests')"


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
      FROM (SELECT account.*, limit_id FROM account, unnest(limit_ids) AS limit_id LIMIT {FEW}) h
     WHERE l.account_id = $1 AND l.id = limit_id
       AND h.created_at >= l.window_start AND {_GIVES_BACK}
)"""  # noqa: S608 - made of constants


def _counted(of_all: str, of_each: str) -> str:
    """Write a number of all holds of `g`, but for those placed before the window of `l` began."""
    return f"""CASE WHEN g.oldest >= l.window_start THEN {of_all}
                ELSE (SELECT coalesce(sum({of_each}), 0)::bigint
                        FROM ended h
                       WHERE h.account_id = l.account_id AND l.id = ANY (h.limit_ids)
                         AND h.created_at >= l.window_start) END"""  # noqa: S608 - made of constants


def _given_of_many() -> str:
    taken = of_unit(tokens="sum_of_tokens", credits_="sum_of_amount", others="holds")
    used = of_unit(tokens="sum_of_total", credits_="sum_of_charge", others="holds")
    span = f"{_span(used)} - {_span(taken)}"
    each_used = of_unit(tokens="h.total", credits_="h.charge", others="1")
    taken = _counted(taken, of_unit(tokens="h.tokens", credits_="h.amount", others="1"))
    used = f"CASE l.unit WHEN 'holds' THEN 0 ELSE {_counted(used, each_used)} END"
    return f""", given AS (
    UPDATE limits l
       SET taken_until = CASE period WHEN 'minute' THEN greatest({_later(span)}, now())
                         ELSE taken_until END,
           reserved = CASE period WHEN 'minute' THEN 0 ELSE greatest(reserved - {taken}, 0) END,
           used = CASE period WHEN 'minute' THEN 0 ELSE used + {used} END
      FROM (SELECT account_id, limit_id, count(*) AS holds, min(created_at) AS oldest,
                   sum(tokens)::bigint AS sum_of_tokens, sum(amount)::bigint AS sum_of_amount,
                   sum(total)::bigint AS sum_of_total, sum(charge)::bigint AS sum_of_charge
              FROM ended, unnest(limit_ids) AS limit_id
             GROUP BY account_id, limit_id
             LIMIT {FEW}) g
     WHERE l.account_id = g.account_id AND l.id = g.limit_id AND {_GIVES_BACK}
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
