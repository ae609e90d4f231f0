"""What must be true of each request: one end, its charge, and the entries that came later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.books.ledger.invariants.charges import (
    CORRECTED_QUANTITIES,
    DUE,
    QUANTITIES,
    RATES,
)
from tokenbalance.books.ledger.invariants.proof import Invariant, Proof

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class _Rule:
    broken: str
    """A condition on one row."""
    line: str
    """The arguments of `format` for the line that names the row."""


_LATER_ROWS: Final = "state IS NULL AND request_id IS NOT NULL"
_ENTRIES: Final = f"""
       (SELECT id, account_id, request_id, key_id, kind, state, amount, balance_after, hold,
               overrun, total, estimated, rates, {QUANTITIES}
          FROM ledger OFFSET 0)
"""  # noqa: S608 - made of constants
# Refunds made before the correction of a charge may exceed what the correction left of it.
_LATER: Final = f"""
       (SELECT account_id, request_id,
               count(*) AS number,
               count(*) FILTER (WHERE kind = 'adjustment') AS adjustments,
               count(*) FILTER (WHERE kind NOT IN ('adjustment', 'refund')) AS strangers,
               coalesce(-sum(amount) FILTER (WHERE kind = 'adjustment'), 0)::bigint AS adjusted,
               coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0)::bigint AS refunded,
               coalesce(sum(amount) FILTER (WHERE kind = 'refund' AND id < adjustment_id),
                        0)::bigint AS refunded_before,
               sum(total) AS total, sum(overrun) AS overrun, {CORRECTED_QUANTITIES}
          FROM (SELECT *, max(id) FILTER (WHERE kind = 'adjustment')
                              OVER (PARTITION BY account_id, request_id) AS adjustment_id
                  FROM {_ENTRIES} entries
                 WHERE {_LATER_ROWS}) entries
         GROUP BY 1, 2)
"""  # noqa: S608 - made of constants
# Only a few rows are later ones, or at rates that differ, so these joins are cheap.
_ROWS: Final = f"""
  FROM {_ENTRIES} e
  LEFT JOIN {_LATER} l
    ON l.request_id = e.request_id AND l.account_id = e.account_id AND e.state IS NOT NULL
  LEFT JOIN api_keys k ON k.id = e.key_id
  LEFT JOIN {RATES} r ON r.rates = e.rates
"""

_CHARGE: Final = "(coalesce(l.adjusted, 0) - e.amount)"
_TOTAL: Final = "(e.total + coalesce(l.total, 0))"
_OVERRUN: Final = "(e.overrun + coalesce(l.overrun, 0))"

# The constraints of the table say the same; a restored backup may have lost them.
_EACH_ENTRY_IS_WHAT_ITS_KIND_SAYS: Final = _Rule(
    "(CASE e.kind WHEN 'charge' THEN e.state IN ('settled', 'expired') AND e.amount <= 0"
    " WHEN 'void' THEN e.state = 'voided' AND e.amount = 0 AND e.balance_after IS NULL"
    " WHEN 'refund' THEN e.state IS NULL AND e.amount > 0 AND e.request_id IS NOT NULL"
    " ELSE e.state IS NULL END IS NOT TRUE"
    " OR e.balance_after IS NULL AND e.amount <> 0"
    " OR e.state IS NOT NULL AND num_nulls(e.request_id, e.key_id, e.hold) > 0)",
    "'entry %s of account %s: is a %s of %s credits for request %s, which is %s',"
    " e.id, e.account_id, e.kind, e.amount, coalesce(e.request_id, 'unknown'),"
    " coalesce(e.state, 'not ended by it')",
)
_EACH_KEY_IS_THERE: Final = _Rule(
    "(e.key_id IS NOT NULL AND k.id IS NULL)",
    "'entry %s of account %s: its key %s does not exist', e.id, e.account_id, e.key_id",
)
# Without rates one credit is one token (`rates.py`), so a charge equals the total usage.
_EACH_CHARGE_IS_WHAT_WAS_USED: Final = _Rule(
    f"(e.state <> 'voided' AND (e.rates IS NULL AND {_CHARGE} <> {_TOTAL}"
    f" OR e.overrun <> greatest(-e.amount - e.hold, 0)"
    f" OR {_OVERRUN} <> greatest({_CHARGE} - e.hold, 0)))",
    "'request %s of account %s: took %s credits, used %s tokens, overrun %s of a hold of %s',"
    f" e.request_id, e.account_id, {_CHARGE}, {_TOTAL}, {_OVERRUN}, e.hold",
)
_EACH_CHARGE_IS_RATES_TIMES_USAGE: Final = _Rule(
    f"(e.state <> 'voided' AND r.rates IS NOT NULL AND {_CHARGE} <> {DUE})",
    "'request %s of account %s: was charged %s credits, its rates and usage make %s',"
    f" e.request_id, e.account_id, {_CHARGE}, {DUE}",
)
_ONLY_EXPIRED_HOLDS_ARE_CORRECTED: Final = _Rule(
    "l.adjustments > (e.state = 'expired')::int",
    "'request %s of account %s: is %s, with %s corrections',"
    " e.request_id, e.account_id, e.state, l.adjustments",
)
# The charge of an expired hold stays an estimate, whatever its correction says.
_EACH_ESTIMATE_IS_MARKED: Final = _Rule(
    "(e.state = 'expired' AND NOT e.estimated)",
    "'request %s of account %s: is expired, but its charge is not marked as estimated',"
    " e.request_id, e.account_id",
)
_NO_REFUND_IS_MORE_THAN_THE_CHARGE: Final = _Rule(
    f"(l.refunded > greatest({_CHARGE}, l.refunded_before) OR l.refunded_before > -e.amount)",
    "'request %s of account %s: took %s credits, and %s were refunded',"
    f" e.request_id, e.account_id, {_CHARGE}, l.refunded",
)
_NO_OTHER_ENTRY_NAMES_A_REQUEST: Final = _Rule(
    "l.strangers > 0",
    "'request %s of account %s: is named by %s entries that are not of requests',"
    " e.request_id, e.account_id, l.strangers",
)

# True of most rows, so that most rules are evaluated for only a few. It must imply that none of
# them is broken, except that of rates.
_PLAIN: Final = (
    "e.state = 'settled' AND e.kind = 'charge' AND e.amount <= 0 AND e.hold >= -e.amount"
    " AND e.overrun = 0 AND (e.rates IS NOT NULL OR e.total = -e.amount)"
    " AND e.balance_after IS NOT NULL AND e.request_id IS NOT NULL AND k.id IS NOT NULL"
    " AND l.number IS NULL"
)


def _of_each_row(rules: Sequence[_Rule], plain: str) -> Invariant:
    """Build one invariant of many rules for each row of the ledger."""
    broken = " OR ".join(rule.broken for rule in rules)
    lines = ", ".join(
        f"({number}, CASE WHEN {rule.broken} THEN format({rule.line}) END)"
        for number, rule in enumerate(rules)
    )
    return Invariant(
        f"coalesce(bool_or(CASE WHEN {plain} THEN false ELSE {broken} END), false)",
        f"""
SELECT rule.line
       {_ROWS}
 CROSS JOIN LATERAL (VALUES {lines}) rule (number, line)
 WHERE rule.line IS NOT NULL
 ORDER BY rule.number, e.account_id, e.id
""",
    )


_EACH_ROW_IS_RIGHT: Final = _of_each_row(
    (
        _EACH_ENTRY_IS_WHAT_ITS_KIND_SAYS,
        _EACH_KEY_IS_THERE,
        _EACH_CHARGE_IS_WHAT_WAS_USED,
        _ONLY_EXPIRED_HOLDS_ARE_CORRECTED,
        _EACH_ESTIMATE_IS_MARKED,
        _NO_REFUND_IS_MORE_THAN_THE_CHARGE,
        _NO_OTHER_ENTRY_NAMES_A_REQUEST,
    ),
    _PLAIN,
)
_EACH_PRICE_IS_RIGHT: Final = _of_each_row((_EACH_CHARGE_IS_RATES_TIMES_USAGE,), "r.rates IS NULL")

# Ids of requests begin with the time, so the tables are almost in their order, and sorting them as
# bytes is nearly free.
_OPEN_AND_ENDED: Final = """
       (SELECT request_id, account_id, 'open' AS state FROM open_holds WHERE amount > 0
         UNION ALL
        SELECT request_id, account_id, state FROM ledger WHERE state IS NOT NULL)
"""
_EACH_REQUEST_ENDS_ONCE: Final = Invariant(
    f"(SELECT count(request_id) <> count(DISTINCT request_id) FROM {_OPEN_AND_ENDED} requests)",  # noqa: S608 - made of constants
    f"""
SELECT format('request %s: is there %s times: %s', request_id, count(*),
              string_agg(format('%s of account %s', state, account_id), ', '
                         ORDER BY account_id, state))
  FROM {_OPEN_AND_ENDED} requests
 GROUP BY request_id
HAVING count(*) > 1
 ORDER BY request_id
""",  # noqa: S608 - made of constants
)
_EACH_LATER_ENTRY_HAS_ITS_REQUEST: Final = Invariant(
    f"(count(*) FILTER (WHERE e.{_LATER_ROWS.replace('request_id', 'e.request_id')})"
    " <> coalesce(sum(l.number), 0))",
    f"""
SELECT format('entry %s of account %s: %s request %s, which has not ended', e.id, e.account_id,
              CASE e.kind WHEN 'refund' THEN 'refunds' ELSE 'names' END, e.request_id)
  FROM ledger e
  LEFT JOIN ledger ended ON ended.request_id = e.request_id
   AND ended.account_id = e.account_id AND ended.state IS NOT NULL
 WHERE e.{_LATER_ROWS.replace("request_id", "e.request_id")} AND ended.id IS NULL
 ORDER BY e.id
""",  # noqa: S608 - made of constants
)
_NO_KEY: Final = "FROM open_holds h LEFT JOIN api_keys k ON k.id = h.key_id WHERE k.id IS NULL"
_EACH_OPEN_HOLD_HAS_ITS_KEY: Final = Invariant(
    f"EXISTS (SELECT {_NO_KEY})",
    f"""
SELECT format('hold %s of account %s: its key %s does not exist',
              h.request_id, h.account_id, h.key_id)
       {_NO_KEY}
 ORDER BY h.account_id, h.request_id
""",
)

REQUESTS_AND_THEIR_ENDS: Final = Proof(
    "",
    (),
    _ROWS,
    (
        _EACH_LATER_ENTRY_HAS_ITS_REQUEST,
        _EACH_REQUEST_ENDS_ONCE,
        _EACH_ROW_IS_RIGHT,
        _EACH_PRICE_IS_RIGHT,
        _EACH_OPEN_HOLD_HAS_ITS_KEY,
    ),
)
