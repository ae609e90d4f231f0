"""The invariants of the books as SQL: what shows that one is broken, and what names where.

Two statements read everything once. One goes along the ledger, account by account; the other along
the requests, each hold beside what became of it. They only say which invariants are broken; each
that is has a statement of its own, which names what breaks it, one line each, with its ids. It runs
seldom, so it may take its time. Constraints are not trusted, which a restored backup may have lost.
Only text: nothing here runs anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.rates import AMOUNT_MAX, DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Invariant:
    """One invariant, as the statements that find it broken."""

    fails: str
    """A condition over all rows of the statement that reads everything."""
    names: str
    """The statement that names what is broken, a line of text for each."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Invariants that one statement shows, which reads everything once."""

    looks: str
    """What the conditions look at besides the rows: common table expressions, or nothing."""
    counts: tuple[str, ...]
    """What the statement counts besides."""
    rows: str
    """One for each thing that is checked."""
    invariants: tuple[Invariant, ...]

    @property
    def statement(self) -> str:
        """Counts, then for each invariant whether it is broken."""
        columns = (*self.counts, *(invariant.fails for invariant in self.invariants))
        return f"{self.looks} SELECT {', '.join(columns)} {self.rows}"


@dataclass(frozen=True, slots=True)
class _Rule:
    broken: str
    """A condition on one row."""
    line: str
    """What `format` makes the line of."""


# The ledger. OFFSET 0 has the entries read as they lie and sorted: fetched one by one in the order
# of an index they take three times as long.
_CHAIN: Final = """
       (SELECT id, account_id, amount, balance_after,
               coalesce(lag(balance_after) OVER (PARTITION BY account_id ORDER BY id), 0) AS before
          FROM (SELECT id, account_id, amount, balance_after
                  FROM ledger_entries OFFSET 0) entries) chain
"""
_ACCOUNTS: Final = f"""
  FROM accounts a
  FULL JOIN (SELECT account_id, count(*) AS number, sum(amount) AS total,
                    bool_or(balance_after - amount <> before) AS is_broken
               FROM {_CHAIN} GROUP BY account_id) e
    ON e.account_id = a.id
  FULL JOIN (SELECT account_id, count(*) AS number, sum(amount) AS total
               FROM holds WHERE state = 'open' GROUP BY account_id) h
    ON h.account_id = coalesce(a.id, e.account_id)
"""  # noqa: S608 - of constants


def _of_each_account(broken: str, line: str) -> Invariant:
    """Build an invariant of each account."""
    return Invariant(
        f"coalesce(bool_or({broken}), false)",
        f"SELECT format({line}) {_ACCOUNTS} WHERE {broken} ORDER BY coalesce(a.id, e.account_id)",
    )


_EACH_ACCOUNT_IS_THERE: Final = _of_each_account(
    "a.id IS NULL",
    "'account %s: does not exist, but has %s entries and %s open holds',"
    " coalesce(e.account_id, h.account_id), coalesce(e.number, 0), coalesce(h.number, 0)",
)
_BALANCE_IS_THE_SUM_OF_THE_ENTRIES: Final = _of_each_account(
    "a.balance <> coalesce(e.total, 0)",
    "'account %s: balance is %s, its entries add up to %s', a.id, a.balance, coalesce(e.total, 0)",
)
_HELD_IS_THE_SUM_OF_THE_OPEN_HOLDS: Final = _of_each_account(
    "(a.held <> coalesce(h.total, 0) OR a.held < 0)",
    "'account %s: held is %s, its open holds add up to %s', a.id, a.held, coalesce(h.total, 0)",
)
_EACH_ENTRY_FOLLOWS_FROM_THE_ONE_BEFORE: Final = Invariant(
    "coalesce(bool_or(e.is_broken), false)",
    f"""
SELECT format('entry %s of account %s: balance_after is %s, %s before it and its amount make %s',
              id, account_id, balance_after, before, before + amount)
  FROM {_CHAIN}
 WHERE balance_after - amount <> before
 ORDER BY id
""",  # noqa: S608 - of constants
)

# Three things may take a balance lower, and each is on record: usage beyond a hold, usage that
# turned up after its hold had expired, and charges of requests that were running when somebody
# lowered the balance below what they held. A correction may be an overrun at the same time.
_NO_BALANCE_IS_BELOW_ITS_OVERDRAFT: Final = Invariant(
    "coalesce(bool_or(a.balance < -a.overdraft), false)",
    """
WITH low AS (
    SELECT id, balance, overdraft FROM accounts WHERE balance < -overdraft
), corrections AS (
    SELECT e.account_id, e.request_id, -sum(e.amount) AS credits
      FROM low
      JOIN ledger_entries e ON e.account_id = low.id
       AND e.kind = 'adjustment' AND e.request_id IS NOT NULL AND e.amount < 0
     GROUP BY e.account_id, e.request_id
), overruns AS (
    SELECT u.account_id, u.request_id, u.overrun AS credits
      FROM low
      JOIN usage u ON u.account_id = low.id AND u.overrun > 0
), late AS (
    SELECT account_id, sum(greatest(c.credits, o.credits)) AS credits
      FROM corrections c FULL JOIN overruns o USING (account_id, request_id)
     GROUP BY account_id
), undercut AS (
    SELECT e.account_id, -sum(e.amount) AS credits
      FROM low
      JOIN ledger_entries e ON e.account_id = low.id AND e.kind = 'charge'
      JOIN holds h ON h.account_id = e.account_id AND h.request_id = e.request_id
     WHERE EXISTS (SELECT FROM ledger_entries lowering
                    WHERE lowering.account_id = e.account_id
                      AND lowering.kind IN ('set', 'adjustment')
                      AND lowering.request_id IS NULL
                      AND lowering.amount < 0
                      AND lowering.id < e.id
                      AND lowering.created_at >= h.created_at)
     GROUP BY e.account_id
)
SELECT format('account %s: balance is %s, the lowest allowed is %s',
              low.id, low.balance, lowest.balance)
  FROM low
  LEFT JOIN late ON late.account_id = low.id
  LEFT JOIN undercut ON undercut.account_id = low.id
 CROSS JOIN LATERAL (SELECT -low.overdraft - coalesce(late.credits, 0)
                            - coalesce(undercut.credits, 0) AS balance) lowest
 WHERE low.balance < lowest.balance
 ORDER BY low.id
""",
)

# Half a minute is what a sweep may take, half a minute what it may be late. Where nobody has swept
# for so long, as when the product is stopped, a lease that has ended is nobody's fault. Who may not
# see the sweeps' connections sees no violation.
_SWEPT: Final = """
       EXISTS (SELECT FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'tokenbalance sweep'
                  AND backend_start < now() - interval '60 s')
"""
_LAPSED: Final = "FROM holds WHERE state = 'open' AND lease_until < now() - interval '60 s'"
_NO_OPEN_HOLD_OUTLIVES_ITS_LEASE: Final = Invariant(
    f"(EXISTS (SELECT {_LAPSED}) AND {_SWEPT})",
    f"""
SELECT format('hold %s of account %s: is open, but its lease ended at %s',
              request_id, account_id, date_trunc('second', lease_until))
       {_LAPSED}
 ORDER BY account_id, request_id
""",
)

LEDGER: Final = Proof(
    "",
    ("count(a.id)", "coalesce(sum(e.number), 0)::bigint", "coalesce(sum(h.number), 0)::bigint"),
    _ACCOUNTS,
    (
        _EACH_ACCOUNT_IS_THERE,
        _BALANCE_IS_THE_SUM_OF_THE_ENTRIES,
        _HELD_IS_THE_SUM_OF_THE_OPEN_HOLDS,
        _EACH_ENTRY_FOLLOWS_FROM_THE_ONE_BEFORE,
        _NO_BALANCE_IS_BELOW_ITS_OVERDRAFT,
        _NO_OPEN_HOLD_OUTLIVES_ITS_LEASE,
    ),
)

# The requests. Their ids begin with the time, so that tables lie almost in their order and sorting
# them costs next to nothing, as bytes; a database's own collation may take much longer.
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
# What was refunded before the correction of a charge may be more than the correction left of it.
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

# Settled, expired: one charge and one record of usage. Open, voided: neither.
_EACH_HOLD_ENDS_ONCE: Final = _Rule(
    "((h.state IN ('settled', 'expired')) <> (c.taken IS NOT NULL)"
    " OR (c.taken IS NULL) <> (u.charge IS NULL))",
    "'hold %s of account %s: is %s, with %s charges and %s records of usage',"
    " h.request_id, h.account_id, h.state, num_nonnulls(c.taken), num_nonnulls(u.charge)",
)
# Without rates one credit is one token (`rates.py`), so a charge is the total that was used.
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
# What an expired hold was charged stays an estimate; the record of its usage is until corrected.
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

# What most requests are, so that the rules are tried on few of them. It must follow from it that no
# rule is broken.
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
"""  # noqa: S608 - of constants

# A row for each request, unless something is there twice.
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
""",  # noqa: S608 - of constants
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
    f"({_SOMETHING_IS_TWICE} OR count(u.charge) <> (SELECT count(*) FROM usage))",  # noqa: S608 - of constants
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
""",  # noqa: S608 - of constants
)

# With rates a charge is what `rates.py` makes of the usage: computed once more here, in another
# language. Few cards are ever used, so that each is read once.
_RATES: Final = ", ".join(
    f"coalesce((rates->>'{kind}')::numeric, (rates->>'{other}')::numeric, 0) AS {kind}"
    for kind, other in DEFAULTS.items()
)
_PRICED: Final = f"""
  FROM (SELECT rates, (rates->>'request')::numeric AS request,
               coalesce((rates->>'input')::numeric, 0) AS input,
               coalesce((rates->>'output')::numeric, 0) AS output,
               {_RATES}
          FROM (SELECT DISTINCT rates FROM holds WHERE rates IS NOT NULL) used) r
  JOIN holds h ON h.rates = r.rates
  JOIN usage u ON u.account_id = h.account_id AND u.request_id = h.request_id
 CROSS JOIN LATERAL (SELECT least(u.audio_input, u.input) AS audio_input,
                            least(u.audio_output, u.output) AS audio_output) audio
 CROSS JOIN LATERAL (SELECT least(u.image_input, u.input - audio.audio_input) AS image_input,
                            least(u.image_output, u.output - audio.audio_output) AS image_output
                    ) image
 CROSS JOIN LATERAL (SELECT u.input - audio.audio_input - image.image_input AS input,
                            u.output - audio.audio_output - image.image_output AS output) text
 CROSS JOIN LATERAL (SELECT least(u.cached_input, text.input) AS cached_input,
                            least(u.reasoning, text.output) AS reasoning) part
 CROSS JOIN LATERAL (SELECT CASE WHEN greatest(u.input, u.output, u.total) > 0 THEN
           least({AMOUNT_MAX}, ceil(
               coalesce(r.request, 0)
               + audio.audio_input * r.audio_input + image.image_input * r.image_input
               + part.cached_input * r.cached_input
               + (text.input - part.cached_input) * r.input
               + audio.audio_output * r.audio_output + image.image_output * r.image_output
               + part.reasoning * r.reasoning
               + (text.output - part.reasoning + greatest(u.total - u.input - u.output, 0))
                 * r.output))
           ELSE 0 END AS charge) due
 WHERE u.charge <> due.charge
"""  # noqa: S608 - of constants
_EACH_CHARGE_IS_RATES_TIMES_USAGE: Final = Invariant(
    f"EXISTS (SELECT {_PRICED})",
    f"""
SELECT format('request %s of account %s: was charged %s credits, its rates and usage make %s',
              h.request_id, h.account_id, u.charge, due.charge)
       {_PRICED}
 ORDER BY h.account_id, h.request_id
""",
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
        _EACH_CHARGE_IS_RATES_TIMES_USAGE,
        _EACH_CHARGE_TAKES_AND_EACH_REFUND_GIVES,
    ),
)
