"""The SQL of the request path, written out and named, and nothing else.

Each statement is one transaction on one account. `accounts` is always locked by the UPDATE of its
one row, and a hold's row before it, so that two statements can never wait for each other.
"""

FIND_CALLER = """
-- $1 SHA-256 of the secret
SELECT a.user_id, k.account_id, k.id AS key_id,
       a.balance - a.held + a.overdraft AS available, k.last_used_at
  FROM api_keys k
  JOIN accounts a ON a.id = k.account_id
  JOIN users u ON u.id = a.user_id
 WHERE k.secret_sha256 = $1
   AND k.revoked_at IS NULL
   AND (k.expires_at IS NULL OR k.expires_at > now())
   AND u.is_active
"""

TOUCH_KEY = """
-- $1 key
UPDATE api_keys SET last_used_at = now() WHERE id = $1
"""

PLACE = """
-- $1 account, $2 request, $3 key, $4 wanted, $5 minimum, $6 endpoint, $7 model
-- Reserves what is wanted, or all that the balance affords when that is less but enough to be
-- of use. One conditional UPDATE: there is no moment between the check and the act.
WITH account AS (
    UPDATE accounts
       SET held = held + least($4, balance + overdraft)
     WHERE id = $1
       AND least($4, balance + overdraft) >= $5
       AND least($4, balance + overdraft) <= balance - held + overdraft
    RETURNING least($4, balance + overdraft) AS amount
)
INSERT INTO holds (account_id, request_id, key_id, amount, endpoint, model)
SELECT $1, $2, $3, amount, $6, $7
  FROM account
RETURNING amount
"""

FUNDS = """
-- $1 account
SELECT balance, held, overdraft FROM accounts WHERE id = $1
"""

SETTLE = """
-- $1 account, $2 request, $3 charge, $4 estimated,
-- $5..$11 input, cached input, output, reasoning, audio input, audio output, total
-- The compare-and-set on the hold's state is what makes a charge happen once: when it finds no
-- open hold, nothing below it finds a row either.
WITH hold AS (
    UPDATE holds
       SET state = 'settled', ended_at = now()
     WHERE account_id = $1 AND request_id = $2 AND state = 'open'
    RETURNING amount
), account AS (
    UPDATE accounts
       SET balance = balance - $3, held = held - hold.amount
      FROM hold
     WHERE id = $1
    RETURNING balance, held, hold.amount AS hold_amount
), entry AS (
    INSERT INTO ledger_entries
           (account_id, kind, amount, balance_after, request_id, actor, estimated)
    SELECT $1, 'charge', -$3, balance, $2, 'proxy', $4
      FROM account
), record AS (
    INSERT INTO usage
           (account_id, request_id, charge, estimated, input, cached_input, output, reasoning,
            audio_input, audio_output, total, overrun)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, greatest($3 - hold_amount, 0)
      FROM account
)
SELECT balance, held FROM account
"""

VOID = """
-- $1 account, $2 request
WITH hold AS (
    UPDATE holds
       SET state = 'voided', ended_at = now()
     WHERE account_id = $1 AND request_id = $2 AND state = 'open'
    RETURNING amount
)
UPDATE accounts SET held = held - hold.amount FROM hold WHERE id = $1
"""
