"""What must be true of each request: one end, its charge, and the entries that came later.

A rerate is an adjustment with rates. The newest rates of a request are those of its last rerate,
else those of its hold: what it costs in all is what they make of all its usage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.books.ledger.invariants.charges import corrections, due, quantities, rates
from tokenbalance.books.ledger.invariants.proof import Invariant, Proof
from tokenbalance.books.pricing.rates import AMOUNT_MAX

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
               overrun, total, estimated, rates, asked, {quantities()}
          FROM ledger OFFSET 0)
"""  # noqa: S608 - made of constants
_CORRECTION: Final = "kind = 'adjustment' AND rates IS NULL"
_RERATE: Final = "kind = 'adjustment' AND rates IS NOT NULL"
# Refunds made before the correction of a charge may exceed what the correction left of it. A rerate
# leaves as much of the charge as was refunded before.
_LATER: Final = f"""
       (SELECT account_id, request_id,
               count(*) AS number,
               count(*) FILTER (WHERE {_CORRECTION}) AS corrections,
               count(*) FILTER (WHERE {_RERATE}) AS rerates,
               count(*) FILTER (WHERE kind NOT IN ('adjustment', 'refund')) AS strangers,
               coalesce(-sum(amount) FILTER (WHERE kind = 'adjustment'), 0)::bigint AS adjusted,
               coalesce(-sum(amount) FILTER (WHERE {_RERATE}), 0)::bigint AS rerated,
               coalesce(-sum(amount) FILTER (WHERE {_RERATE} AND id < correction_id),
                        0)::bigint AS rerated_before,
               coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0)::bigint AS refunded,
               coalesce(sum(amount) FILTER (WHERE kind = 'refund' AND id < correction_id),
                        0)::bigint AS refunded_before,
               coalesce(sum(amount) FILTER (WHERE kind = 'refund' AND id < rerate_id),
                        0)::bigint AS refunded_before_rerate,
               correction_id > rerate_id AS is_corrected_last,
               sum(amount) FILTER (WHERE id = rerate_id)::bigint AS given_back,
               (array_agg(rates) FILTER (WHERE id = rerate_id))[1] AS rates,
               sum(total) AS total, sum(overrun) AS overrun, {corrections()}
          FROM (SELECT *, max(id) FILTER (WHERE {_CORRECTION}) OVER of_request AS correction_id,
                       max(id) FILTER (WHERE {_RERATE}) OVER of_request AS rerate_id
                  FROM {_ENTRIES} entries
                 WHERE {_LATER_ROWS}
                WINDOW of_request AS (PARTITION BY account_id, request_id)) entries
         GROUP BY account_id, request_id, correction_id, rerate_id)
"""  # noqa: S608 - made of constants
# Few different rates are ever in use, so each is read only once.
_RATES: Final = f"""
       (SELECT rates, {rates()}
          FROM (SELECT DISTINCT rates FROM ledger WHERE rates IS NOT NULL) used)
"""  # noqa: S608 - made of constants
# Only a few rows are later ones, or at rates that differ, so these joins are cheap.
_ROWS: Final = f"""
  FROM {_ENTRIES} e
  LEFT JOIN {_LATER} l
    ON l.request_id = e.request_id AND l.account_id = e.account_id AND e.state IS NOT NULL
  LEFT JOIN api_keys k ON k.id = e.key_id
  LEFT JOIN {_RATES} r ON r.rates = coalesce(l.rates, e.rates) AND e.state IS NOT NULL
"""

_CHARGE: Final = "(coalesce(l.adjusted, 0) - e.amount)"
_CHARGE_WITHOUT_RERATES: Final = f"({_CHARGE} - coalesce(l.rerated, 0))"
_TOTAL: Final = "(e.total + coalesce(l.total, 0))"
_OVERRUN: Final = "(e.overrun + coalesce(l.overrun, 0))"
# A rerate that gave less back than it would have, since more was refunded.
_DUE: Final = (
    "CASE WHEN l.rates IS NULL OR l.is_corrected_last"
    f" THEN {due()}"
    f" ELSE greatest({due()}, least({_CHARGE} + l.given_back, l.refunded_before_rerate)) END"
)

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
    f"(e.state <> 'voided' AND (coalesce(l.rates, e.rates) IS NULL AND {_CHARGE} <> {_TOTAL}"
    f" OR e.overrun <> greatest(-e.amount - e.hold, 0)"
    f" OR {_OVERRUN} <> greatest({_CHARGE_WITHOUT_RERATES} - e.hold, 0)))",
    "'request %s of account %s: took %s credits, used %s tokens, overrun %s of a hold of %s',"
    f" e.request_id, e.account_id, {_CHARGE}, {_TOTAL}, {_OVERRUN}, e.hold",
)
_EACH_CHARGE_IS_RATES_TIMES_USAGE: Final = _Rule(
    f"(e.state <> 'voided' AND r.rates IS NOT NULL AND {_CHARGE} <> {_DUE})",
    "'request %s of account %s: was charged %s credits, its rates and usage make %s',"
    f" e.request_id, e.account_id, {_CHARGE}, {_DUE}",
)
_ONLY_EXPIRED_HOLDS_ARE_CORRECTED: Final = _Rule(
    "l.corrections > (e.state = 'expired')::int",
    "'request %s of account %s: is %s, with %s corrections',"
    " e.request_id, e.account_id, e.state, l.corrections",
)
_ONLY_CHARGES_ARE_RERATED: Final = _Rule(
    "(l.rerates > 0 AND e.state = 'voided')",
    "'request %s of account %s: is voided, with %s rerates', e.request_id, e.account_id, l.rerates",
)
_EACH_RERATE_CHANGES_ONLY_THE_PRICE: Final = _Rule(
    "(e.state IS NULL AND e.rates IS NOT NULL AND e.kind <> 'storage' AND (e.kind <> 'adjustment'"
    " OR e.request_id IS NULL OR e.amount = 0 OR e.total <> 0 OR e.overrun <> 0))",
    "'entry %s of account %s: has rates, but is a %s of %s credits and %s tokens, overrun %s',"
    " e.id, e.account_id, e.kind, e.amount, e.total, e.overrun",
)
# The charge of an expired hold stays an estimate, whatever its correction says.
_EACH_ESTIMATE_IS_MARKED: Final = _Rule(
    "(e.state = 'expired' AND NOT e.estimated)",
    "'request %s of account %s: is expired, but its charge is not marked as estimated',"
    " e.request_id, e.account_id",
)
_NO_REFUND_IS_MORE_THAN_THE_CHARGE: Final = _Rule(
    f"(l.refunded > greatest({_CHARGE}, l.refunded_before)"
    " OR l.refunded_before > l.rerated_before - e.amount)",
    "'request %s of account %s: took %s credits, and %s were refunded',"
    f" e.request_id, e.account_id, {_CHARGE}, l.refunded",
)
_NO_OTHER_ENTRY_NAMES_A_REQUEST: Final = _Rule(
    "l.strangers > 0",
    "'request %s of account %s: is named by %s entries that are not of requests',"
    " e.request_id, e.account_id, l.strangers",
)

_STORED: Final = f"""
       least({AMOUNT_MAX}, ceil((e.used->>'byte_day')::numeric * (e.rates->>'gb_day')::numeric
                                / 1000000000))
"""
_EACH_STORAGE_IS_BYTES_TIMES_DAYS: Final = _Rule(
    f"(e.kind = 'storage' AND coalesce(-coalesce(e.asked, e.amount) <> {_STORED}, true))",
    "'entry %s of account %s: is %s credits for storage, its rate and what was stored make %s',"
    f" e.id, e.account_id, -coalesce(e.asked, e.amount), {_STORED}",
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
        _ONLY_CHARGES_ARE_RERATED,
        _EACH_RERATE_CHANGES_ONLY_THE_PRICE,
        _EACH_ESTIMATE_IS_MARKED,
        _NO_REFUND_IS_MORE_THAN_THE_CHARGE,
        _NO_OTHER_ENTRY_NAMES_A_REQUEST,
        _EACH_STORAGE_IS_BYTES_TIMES_DAYS,
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
