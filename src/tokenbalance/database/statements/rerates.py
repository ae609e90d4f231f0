"""Corrected prices: what was charged is found, and the difference to a new price is posted.

What came after the end of a request is looked up in the words of its own index. An index of
everything that is no end looks as good while there is little of that, and a rerate makes much.
"""

from typing import Final

RERATED_ACCOUNTS: Final = """
-- $1 after this account, $2 after this row of the ledger, $3 up to this one, $4 how many
-- Accounts that have any row in the range, in the order of their ids.
SELECT a.id, a.user_id
  FROM accounts a
 CROSS JOIN LATERAL (
       SELECT true
         FROM ledger
        WHERE account_id = a.id AND id > $2 AND id <= $3
        LIMIT 1) used
 WHERE a.id > $1
 ORDER BY a.id
 LIMIT $4
"""

CHARGED: Final = """
-- $1 account, $2 after this row of the ledger, $3 up to this one, $4 since, $5 until, $6 how many
-- Requests of an account that were charged, each with what came later: the usage that a correction
-- adds, the credits of corrections and refunds, and the last of these rows.
SELECT e.id, e.request_id, e.started_at, e.model, e.rates::text, e.quantities::text, e.total,
       e.estimated, -e.amount AS charge,
       coalesce(later.last, 0) AS last, coalesce(later.adjusted, 0)::bigint AS adjusted,
       coalesce(later.refunded, 0)::bigint AS refunded,
       coalesce(later.total, 0)::bigint AS corrected_total,
       later.quantities[1]::text AS corrected_quantities, later.estimated AS corrected_estimated
  FROM (SELECT *
          FROM ledger
         WHERE account_id = $1 AND id > $2 AND id <= $3 AND kind = 'charge'
           AND created_at >= $4 AND created_at < $5
         ORDER BY id
         LIMIT $6) e
 CROSS JOIN LATERAL (
       SELECT max(id) AS last,
              -sum(amount) FILTER (WHERE kind = 'adjustment') AS adjusted,
              sum(amount) FILTER (WHERE kind = 'refund') AS refunded,
              sum(total) AS total,
              array_agg(quantities) FILTER (WHERE kind = 'adjustment' AND rates IS NULL)
              AS quantities,
              bool_and(estimated) FILTER (WHERE kind = 'adjustment' AND rates IS NULL)
              AS estimated
         FROM ledger
        WHERE request_id = e.request_id AND account_id + 0 = $1
          AND kind IN ('adjustment', 'refund')) later
 ORDER BY e.id
"""

RERATE: Final = """
-- $1 account, $2 requests, $3 the last later row of each that was seen, 0 for none, $4 differences
-- in credits, $5 rates, $6 estimated, $7 actor, $8 note
-- Only while the account is locked. A row of the difference for each request, unless a correction,
-- a refund or another rerate came after it was read: those are left, and the numbers of the others
-- returned, with the balance after all of them.
WITH item AS (
    SELECT *
      FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::boolean[])
           WITH ORDINALITY AS item (request_id, seen, amount, rates, estimated, number)
     LIMIT (SELECT cardinality($2))
), unchanged AS (
    SELECT item.*, e.key_id, e.endpoint, e.model
      FROM item
     CROSS JOIN LATERAL (
           SELECT key_id, endpoint, model
             FROM ledger
            WHERE request_id = item.request_id AND account_id + 0 = $1
              AND state IS NOT NULL) e
     CROSS JOIN LATERAL (
           SELECT coalesce(max(id), 0) AS last
             FROM ledger
            WHERE request_id = item.request_id AND account_id + 0 = $1
              AND kind IN ('adjustment', 'refund')) later
     WHERE later.last = item.seen
), account AS (
    UPDATE accounts
       SET balance = balance + changed.amount
      FROM (SELECT sum(amount)::bigint AS amount FROM unchanged) changed
     WHERE id = $1 AND changed.amount IS NOT NULL
    RETURNING balance AS after, balance - changed.amount AS before
), entry AS (
    INSERT INTO ledger
           (account_id, created_at, kind, amount, balance_after, request_id, key_id, estimated,
            endpoint, model, rates, actor, note)
    SELECT $1, clock_timestamp(), 'adjustment', amount,
           before + (sum(amount) OVER (ORDER BY number))::bigint, request_id, key_id, estimated,
           endpoint, model, rates::jsonb, $7, $8
      FROM unchanged, account
     ORDER BY number
)
SELECT number, before, after FROM unchanged, account
"""

NEWEST_RATES: Final = """
-- $1 account, $2 request
-- The rates of a request that has expired: those of its newest rerate, else those of its hold.
SELECT coalesce(rerate.rates, e.rates)::text AS rates
  FROM ledger e
  LEFT JOIN LATERAL (
       SELECT rates
         FROM ledger
        WHERE request_id = $2 AND account_id + 0 = $1
          AND kind = 'adjustment' AND rates IS NOT NULL
        ORDER BY id DESC
        LIMIT 1) rerate ON true
 WHERE e.request_id = $2 AND e.account_id + 0 = $1 AND e.state IS NOT NULL
   AND e.state = 'expired'
"""
