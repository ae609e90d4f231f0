"""Requests that wait for open holds of their account."""

from typing import Final

from tokenbalance.database.statements.limits import of_unit

ENTER: Final = """
-- $1 account, $2 wanted, $3 seconds for which the waiter counts as alive
INSERT INTO waiters (account_id, wanted, alive_until)
VALUES ($1, $2, now() + make_interval(secs => $3))
RETURNING position
"""

LEAVE: Final = """
-- $1 account, $2 position
DELETE FROM waiters WHERE account_id = $1 AND position = $2
"""

RENEW_WAITERS: Final = """
-- $1 accounts, $2 positions, $3 seconds for which the waiters count as alive
-- The heartbeat of one process, for all of its waiters.
UPDATE waiters w
   SET alive_until = now() + make_interval(secs => $3)
  FROM unnest($1::bigint[], $2::bigint[]) AS k (account_id, position)
 WHERE w.account_id = k.account_id AND w.position = k.position
"""

_PROMISING: Final = """
-- $1 accounts, $2 positions, $3 wanted, $4 minimum{comment}
-- The waiters worth another attempt: their hold fits now, or never will, or something is due.
SELECT k.position
  FROM (SELECT *
          FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]{columns})
         LIMIT (SELECT cardinality($1))) k (account_id, position, wanted, minimum{names})
  JOIN accounts a ON a.id = k.account_id
 WHERE balance + overdraft < k.minimum OR a.next_expiry <= now()
    OR least(k.wanted, balance + overdraft) <= balance - held + overdraft - (
           SELECT coalesce(sum(w.wanted), 0)
             FROM waiters w
            WHERE w.account_id = k.account_id AND w.alive_until > now()
              AND w.position < k.position){limits}
"""

PROMISING: Final = _PROMISING.format(comment="", columns="", names="", limits="")

PROMISING_LIMITED: Final = _PROMISING.format(
    comment=", $5 tokens, $6 subjects of the limits",
    columns=", $5::bigint[], $6::text[]",
    names=", tokens, subjects",
    # A window that has ended is entered by the attempt.
    limits=f"""
       AND NOT EXISTS (
           SELECT
             FROM unnest(string_to_array(k.subjects, ' ')) AS subject
            CROSS JOIN LATERAL (
                  SELECT *
                    FROM limits
                   WHERE account_id = k.account_id AND limits.subject = subject.subject
                  OFFSET 0) l
            WHERE now() < window_end AND reserved > 0
              AND amount - used - reserved < {
        of_unit(tokens="k.tokens", credits_="least(k.wanted, balance + overdraft)", others="1")
    }
              AND amount - used >= {
        of_unit(tokens="k.tokens", credits_="least(k.wanted, balance + overdraft)", others="1")
    })""",  # noqa: S608 - made of constants
)
"""As PROMISING, for waiters with limits: those that only open holds keep do not let them pass."""

WAITED_FOR: Final = """
-- $1 account
-- The credits that all waiters of the account want, in sum.
SELECT coalesce(sum(wanted), 0)::bigint
  FROM waiters
 WHERE account_id = $1 AND alive_until > now()
"""

WAITING: Final = """
-- $1 account
SELECT count(*) FROM waiters WHERE account_id = $1 AND alive_until > now()
"""

FORGET_WAITERS: Final = """
-- Rows of processes that are gone.
DELETE FROM waiters WHERE alive_until < now() - interval '1 minute'
"""
