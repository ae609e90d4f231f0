"""What must be true of each request: its hold, its charge, its usage record, and later entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.books.ledger.invariants.charges import EACH_CHARGE_IS_RATES_TIMES_USAGE
from tokenbalance.books.ledger.invariants.proof import Invariant, Proof

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class _Rule:
    broken: str
    """A condition on one row."""
    line: str
    """The arguments of `format` for the line that names the row."""


# Ids of requests begin with the time, so the tables are almost in their order, and sorting them as
# bytes is nearly free. The database's own collation may take much longer.
_HOLDS: Final = """
       (SELECT account_id, request_id COLLATE "C" AS request_id, amount, state,
               rates IS NOT NULL AS has_rates
          FROM holds ORDER BY 2, 1 OFFSET 0)
"""
_USAGES: Final = """
       (SELECT account_id, request_id COLLATE "C" AS request_id, charge, total, overrun, estimated,
               corrected_at IS NOT NULL AS is_corrected
          FROM usage ORDER BY 2, 1 OFFSET 0)
"""
_CHARGES: Final = """
       (SELECT account_id, request_id COLLATE "C" AS request_id, -amount AS taken, estimated
          FROM ledger_entries WHERE kind = 'charge' ORDER BY 2, 1 OFFSET 0)
"""
# Refunds made before the correction of a charge may exceed what the correction left of it.
_LATER: Final = """
       (SELECT account_id, request_id COLLATE "C" AS request_id,
               count(*) FILTER (WHERE kind = 'adjustment') AS adjustments,
               count(*) AS number,
               coalesce(-sum(amount) FILTER (WHERE kind = 'adjustment'), 0)::bigint AS adjusted,
               coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0)::bigint AS refunded,
               coalesce(sum(amount) FILTER (WHERE kind = 'refund' AND id < adjustment_id),
                        0)::bigint AS refunded_before,
               count(*) FILTER (WHERE kind NOT IN ('adjustment', 'refund')) AS strangers
          FROM (SELECT account_id, request_id, kind, amount, id,
                       max(id) FILTER (WHERE kind = 'adjustment')
                           OVER (PARTITION BY account_id, request_id) AS adjustment_id
                  FROM ledger_entries
                 WHERE kind <> 'charge' AND request_id IS NOT NULL) entries
         GROUP BY 1, 2)
"""
_REQUESTS: Final = f"""
  FROM {_HOLDS} h
  LEFT JOIN {_USAGES} u ON u.request_id = h.request_id AND u.account_id = h.account_id
  LEFT JOIN {_CHARGES} c ON c.request_id = h.request_id AND c.account_id = h.account_id
  LEFT JOIN {_LATER} l ON l.request_id = h.request_id AND l.account_id = h.account_id
"""

# Settled or expired: one charge and one usage record. Open or voided: neither.
_EACH_HOLD_ENDS_ONCE: Final = _Rule(
    "((h.state IN ('settled', 'expired')) <> (c.taken IS NOT NULL)"
    " OR (c.taken IS NULL) <> (u.charge IS NULL))",
    "'hold %s of account %s: is %s, with %s charges and %s records of usage',"
    " h.request_id, h.account_id, h.state, num_nonnulls(c.taken), num_nonnulls(u.charge)",
)
# Without rates one credit is one token (`rates.py`), so a charge equals the total usage.
_EACH_CHARGE_IS_WHAT_WAS_USED: Final = _Rule(
    "(u.charge <> c.taken + coalesce(l.adjusted, 0) OR NOT h.has_rates AND u.charge <> u.total"
    " OR u.overrun <> greatest(u.charge - h.amount, 0))",
    "'request %s of account %s: took %s credits, its usage says charge %s, total %s,"
    " overrun %s of a hold of %s',"
    " h.request_id, h.account_id, c.taken + coalesce(l.adjusted, 0), u.charge, u.total,"
    " u.overrun, h.amount",
)
_ONLY_EXPIRED_HOLDS_ARE_CORRECTED: Final = _Rule(
    "(u.is_corrected AND h.state <> 'expired'"
    " OR l.adjustments > coalesce(u.is_corrected, false)::int)",
    "'hold %s of account %s: is %s, with %s adjustments, and its usage is %s',"
    " h.request_id, h.account_id, h.state, coalesce(l.adjustments, 0),"
    " CASE WHEN u.is_corrected THEN 'corrected' ELSE 'not corrected' END",
)
# The charge of an expired hold stays an estimate; its usage record is one until it is corrected.
_EACH_ESTIMATE_IS_MARKED: Final = _Rule(
    "(c.estimated <> (h.state = 'expired' OR u.estimated)"
    " OR h.state = 'expired' AND NOT u.estimated AND NOT u.is_corrected)",
    "'hold %s of account %s: is %s, its charge is marked as %s, its usage as %s',"
    " h.request_id, h.account_id, h.state,"
    " CASE WHEN c.estimated THEN 'estimated' ELSE 'reported' END,"
    " CASE WHEN u.estimated THEN 'estimated' ELSE 'reported' END",
)
_NO_REFUND_IS_MORE_THAN_THE_CHARGE: Final = _Rule(
    "(l.refunded > greatest(coalesce(c.taken, 0) + l.adjusted, l.refunded_before)"
    " OR l.refunded_before > coalesce(c.taken, 0))",
    "'request %s of account %s: took %s credits, and %s were refunded',"
    " h.request_id, h.account_id, coalesce(c.taken, 0) + l.adjusted, l.refunded",
)
_NO_OTHER_ENTRY_NAMES_A_REQUEST: Final = _Rule(
    "l.strangers > 0",
    "'request %s of account %s: is named by %s entries that are not of requests',"
    " h.request_id, h.account_id, l.strangers",
)

# True of most requests, so that the rules are evaluated for only a few. It must imply that no rule
# is broken.
_PLAIN: Final = (
    "h.state = 'settled' AND u.charge = c.taken AND (h.has_rates OR u.charge = u.total)"
    " AND u.charge <= h.amount"
    " AND u.overrun = 0 AND u.estimated = c.estimated AND NOT u.is_corrected AND l.number IS NULL"
)


def _of_each_request(rules: Sequence[_Rule]) -> Invariant:
    """Build one invariant of many rules for each request."""
    broken = " OR ".join(rule.broken for rule in rules)
    lines = ", ".join(
        f"({number}, CASE WHEN {rule.broken} THEN format({rule.line}) END)"
        for number, rule in enumerate(rules)
    )
    return Invariant(
        f"coalesce(bool_or(CASE WHEN {_PLAIN} THEN false ELSE {broken} END), false)",
        f"""
SELECT rule.line
       {_REQUESTS}
 CROSS JOIN LATERAL (VALUES {lines}) rule (number, line)
 WHERE rule.line IS NOT NULL
 ORDER BY rule.number, h.account_id, h.request_id
""",
    )


_EACH_REQUEST_IS_RIGHT: Final = _of_each_request(
    (
        _EACH_HOLD_ENDS_ONCE,
        _EACH_CHARGE_IS_WHAT_WAS_USED,
        _ONLY_EXPIRED_HOLDS_ARE_CORRECTED,
        _EACH_ESTIMATE_IS_MARKED,
        _NO_REFUND_IS_MORE_THAN_THE_CHARGE,
        _NO_OTHER_ENTRY_NAMES_A_REQUEST,
    )
)

_AMISS: Final = (
    "(kind = 'charge' AND amount > 0 OR kind = 'refund' AND amount <= 0"
    " OR kind IN ('charge', 'refund') AND request_id IS NULL)"
)
_IN_ALL: Final = f"""
WITH in_all AS MATERIALIZED (
    SELECT count(*) FILTER (WHERE kind = 'charge') AS charges,
           count(request_id) FILTER (WHERE kind <> 'charge') AS later,
           coalesce(bool_or({_AMISS}), false) AS is_amiss
      FROM ledger_entries
)
"""  # noqa: S608 - made of constants

# True if a request has more than one row, because something exists twice.
_SOMETHING_IS_TWICE: Final = "count(h.request_id) <> count(DISTINCT h.request_id)"
_NOTHING_IS_THERE_TWICE: Final = Invariant(
    _SOMETHING_IS_TWICE,
    """
SELECT line
  FROM (SELECT request_id,
               format('request %s: has %s holds, of accounts %s', request_id, count(*),
                      string_agg(account_id::text, ', ' ORDER BY account_id)) AS line
          FROM holds GROUP BY request_id HAVING count(*) > 1
         UNION ALL
        SELECT request_id,
               format('request %s of account %s: has %s charges', request_id, account_id, count(*))
          FROM ledger_entries WHERE kind = 'charge'
         GROUP BY account_id, request_id HAVING count(*) > 1
         UNION ALL
        SELECT request_id,
               format('request %s of account %s: has %s records of usage',
                      request_id, account_id, count(*))
          FROM usage GROUP BY account_id, request_id HAVING count(*) > 1) twice
 ORDER BY request_id, line
""",
)
_EACH_ENTRY_OF_A_REQUEST_HAS_ITS_HOLD: Final = Invariant(
    f"""
       ({_SOMETHING_IS_TWICE}
        OR count(c.taken) <> (SELECT charges FROM in_all)
        OR coalesce(sum(l.number), 0) <> (SELECT later FROM in_all))
""",  # noqa: S608 - made of constants
    """
SELECT format('entry %s of account %s: %s request %s, which has no hold', e.id, e.account_id,
              CASE e.kind WHEN 'charge' THEN 'charges' WHEN 'refund' THEN 'refunds'
                          ELSE 'names' END, e.request_id)
  FROM ledger_entries e
  LEFT JOIN holds h ON h.account_id = e.account_id AND h.request_id = e.request_id
 WHERE e.request_id IS NOT NULL AND h.request_id IS NULL
 ORDER BY e.id
""",
)
_EACH_USAGE_HAS_ITS_HOLD: Final = Invariant(
    f"({_SOMETHING_IS_TWICE} OR count(u.charge) <> (SELECT count(*) FROM usage))",  # noqa: S608 - made of constants
    """
SELECT format('usage of request %s of account %s: has no hold', u.request_id, u.account_id)
  FROM usage u
  LEFT JOIN holds h ON h.account_id = u.account_id AND h.request_id = u.request_id
 WHERE h.request_id IS NULL
 ORDER BY u.account_id, u.request_id
""",
)
_EACH_CHARGE_TAKES_AND_EACH_REFUND_GIVES: Final = Invariant(
    "(SELECT is_amiss FROM in_all)",
    f"""
SELECT format('entry %s of account %s: is a %s of %s credits for request %s',
              id, account_id, kind, amount, coalesce(request_id, 'unknown'))
  FROM ledger_entries
 WHERE {_AMISS}
 ORDER BY id
""",  # noqa: S608 - made of constants
)

REQUESTS_AND_THEIR_ENDS: Final = Proof(
    _IN_ALL,
    (),
    _REQUESTS,
    (
        _EACH_ENTRY_OF_A_REQUEST_HAS_ITS_HOLD,
        _EACH_USAGE_HAS_ITS_HOLD,
        _NOTHING_IS_THERE_TWICE,
        _EACH_REQUEST_IS_RIGHT,
        EACH_CHARGE_IS_RATES_TIMES_USAGE,
        _EACH_CHARGE_TAKES_AND_EACH_REFUND_GIVES,
    ),
)
