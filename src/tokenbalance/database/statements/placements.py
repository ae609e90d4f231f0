"""Placing holds: one, or those of many requests in one statement.

Their commit does not wait for the disk: if the database crashes and loses it, the process that has
the request puts the hold back (`forgotten`).
"""

from typing import Final

PLACE: Final = """
-- $1 account, $2 request, $3 key, $4 wanted, $5 minimum, $6 endpoint, $7 model, $8 known input,
-- $9 lease in seconds, $10 position among the waiters or null, $11 estimated output,
-- $12 rates or null, $13 SHA-256 of the key's secret
-- Reserves what is wanted, or what the balance affords if that is less but at least the minimum.
-- Leaves enough for the waiters ahead of this request. It is one conditional UPDATE, so nothing can
-- happen between the check and the reservation. Nothing is reserved with a key that has ended, was
-- rotated, or lost its scope since it was looked up, or for a user who was disabled.
WITH account AS (
    UPDATE accounts
       SET held = held + least($4, balance + overdraft)
     WHERE id = $1
       AND (accounts.next_expiry IS NULL OR accounts.next_expiry > now())
       AND (SELECT u.is_active FROM users u WHERE u.id = accounts.user_id)
       AND EXISTS (SELECT
                     FROM api_keys k
                    WHERE k.secret_sha256 = $13 AND k.revoked_at IS NULL
                      AND (k.expires_at IS NULL OR k.expires_at > now())
                      AND ('inference' = ANY (k.scopes) OR k.kind = 'sign-in'))
       AND least($4, balance + overdraft) >= $5
       AND least($4, balance + overdraft) <= balance - held + overdraft - (
               SELECT coalesce(sum(wanted), 0)
                 FROM waiters
                WHERE account_id = $1 AND alive_until > now()
                  AND ($10::bigint IS NULL OR position < $10))
    RETURNING least($4, balance + overdraft) AS amount
)
INSERT INTO open_holds
       (account_id, request_id, key_id, amount, endpoint, model, known_input, lease_until,
        estimated_input, estimated_output, rates)
SELECT $1, $2, $3, amount, $6, $7, $8, now() + make_interval(secs => $9), $8, $11, $12
  FROM account, (SELECT set_config('synchronous_commit', 'off', true)) relaxed
RETURNING amount
"""

_PLACE_MANY: Final = """
-- $1 accounts, $2 requests, $3 SHA-256 of the keys' secrets, $4 wanted, $5 minima, $6 endpoints,
-- $7 models, $8 known inputs, $9 estimated outputs, $10 which of $12 or nulls,
-- $11 lease in seconds, $12 different rates: few cards have so many models that all of a batch
-- differ
-- PLACE for requests that are not waiting: for each account, in order, as many as fit in full. None
-- of them is capped, and each account's row is written once. Whatever is left out, for any reason,
-- is left to PLACE.
WITH item AS (
    SELECT *
      FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bigint[], $5::bigint[], $6::text[],
                  $7::text[], $8::bigint[], $9::bigint[], $10::integer[])
           WITH ORDINALITY AS item (account_id, request_id, secret, wanted, minimum, endpoint,
                                    model, known_input, estimated_output, rates, number)
     LIMIT (SELECT cardinality($1))
), account AS (
    SELECT item.*, k.id AS key_id, a.balance + a.overdraft - a.held AS available
      FROM item
      JOIN accounts a ON a.id = item.account_id
      JOIN api_keys k ON k.secret_sha256 = item.secret
      JOIN users u ON u.id = a.user_id
     WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AND u.is_active
       AND ('inference' = ANY (k.scopes) OR k.kind = 'sign-in')
       AND (a.next_expiry IS NULL OR a.next_expiry > now())
       FOR NO KEY UPDATE OF a{or_skip}
), line AS (
    SELECT *, row_number() OVER (PARTITION BY account_id ORDER BY number) AS place FROM account
), claim AS (
    -- All waiters of an account come before its first item; they are summed once per account.
    SELECT *, sum(wanted + CASE place WHEN 1 THEN (
               SELECT coalesce(sum(w.wanted), 0)
                 FROM waiters w
                WHERE w.account_id = line.account_id AND w.alive_until > now())
           ELSE 0 END) OVER (PARTITION BY account_id ORDER BY number) AS up_to
      FROM line
), placed AS (
    INSERT INTO open_holds
           (account_id, request_id, key_id, amount, endpoint, model, known_input, lease_until,
            estimated_input, estimated_output, rates)
    SELECT account_id, request_id, key_id, wanted, endpoint, model, known_input,
           now() + make_interval(secs => $11), known_input, estimated_output,
           ($12::jsonb[])[rates]
      FROM claim, (SELECT set_config('synchronous_commit', 'off', true)) relaxed
     WHERE up_to <= available AND wanted >= minimum
     ORDER BY number
    ON CONFLICT (request_id, account_id) DO NOTHING
    RETURNING account_id, request_id, amount
), reserved AS (
    UPDATE accounts
       SET held = held + amount
      FROM (SELECT account_id, sum(amount)::bigint AS amount FROM placed GROUP BY account_id) p
     WHERE id = account_id
)
SELECT account_id, request_id, amount FROM placed
"""

PLACE_MANY: Final = _PLACE_MANY.format(or_skip=" SKIP LOCKED")

PLACE_MANY_OF_ONE: Final = _PLACE_MANY.format(or_skip="")
