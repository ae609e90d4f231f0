"""The SQL of the request path, written out and named, and nothing else.

Each statement is one transaction. One that waits for a lock is about one account: it locks a hold's
row, then the account's, so that two ends can never wait for each other. One that is about several
accounts waits for no lock at all: it leaves out what is locked, and tells what it did.

The items of a statement for many have a LIMIT that limits nothing: of how many there may be the
planner takes a tenth then, one, and so looks each up by its key, in a plan that it makes once. Else
it plans anew for every length, which takes longer than to run, or reads a whole table that was
small when it made its plan.

A statement for many locks each hold in a LATERAL of its own, whose only way to it is the whole key,
and writes it where it lies, for there it stays while it is locked. In a plain join the planner may
begin with the index of the open holds: where the last ANALYZE happened to see none, reading all of
it looks cheaper than looking up one key, and each item then reads every open hold.
"""

from typing import Final

WHICH_BOOKS: Final = """
SELECT id FROM books
"""

FIND_CALLERS: Final = """
-- $1 SHA-256 of the secrets
SELECT a.user_id, k.account_id, k.id AS key_id,
       a.balance - a.held + a.overdraft AS available, u.is_superuser,
       k.kind = 'sign-in' AS signed_in, k.insufficient_status, k.last_used_at, k.secret_sha256
  FROM (SELECT DISTINCT * FROM unnest($1::bytea[]) LIMIT (SELECT cardinality($1))) asked (secret)
  JOIN api_keys k ON k.secret_sha256 = asked.secret
  JOIN accounts a ON a.id = k.account_id
  JOIN users u ON u.id = a.user_id
 WHERE k.revoked_at IS NULL
   AND (k.expires_at IS NULL OR k.expires_at > now())
   AND u.is_active
"""

TOUCH_KEYS: Final = """
-- $1 keys
-- A key that somebody is changing right now is not waited for: the next request will do.
UPDATE api_keys k
   SET last_used_at = now()
  FROM (SELECT id
          FROM api_keys
         WHERE id = ANY ($1::bigint[])
         LIMIT (SELECT cardinality($1))
           FOR NO KEY UPDATE SKIP LOCKED) free,
       (SELECT set_config('synchronous_commit', 'off', true)) relaxed
 WHERE k.id = free.id
"""

PLACE: Final = """
-- $1 account, $2 request, $3 key, $4 wanted, $5 minimum, $6 endpoint, $7 model, $8 known input,
-- $9 lease in seconds, $10 position among the waiters or null, $11 estimated output,
-- $12 rates or null
-- Reserves what is wanted, or all that the balance affords when that is less but enough to be
-- of use, and leaves what those wait for who came before. One conditional UPDATE: there is no
-- moment between the check and the act.
WITH account AS (
    UPDATE accounts
       SET held = held + least($4, balance + overdraft)
     WHERE id = $1
       AND least($4, balance + overdraft) >= $5
       AND least($4, balance + overdraft) <= balance - held + overdraft - (
               SELECT coalesce(sum(wanted), 0)
                 FROM waiters
                WHERE account_id = $1 AND alive_until > now()
                  AND ($10::bigint IS NULL OR position < $10))
    RETURNING least($4, balance + overdraft) AS amount
)
INSERT INTO holds
       (account_id, request_id, key_id, amount, endpoint, model, known_input, lease_until,
        estimated_input, estimated_output, rates)
SELECT $1, $2, $3, amount, $6, $7, $8, now() + make_interval(secs => $9), $8, $11, $12
  FROM account
RETURNING amount
"""

_PLACE_MANY: Final = """
-- $1 accounts, $2 requests, $3 keys, $4 wanted, $5 minima, $6 endpoints, $7 models,
-- $8 known inputs, $9 estimated outputs, $10 rates or nulls, $11 lease in seconds
-- As PLACE for those who have no position among the waiters: of each account, in order, as many as
-- fit whole. None of them is capped then, and each account's row is written once. Who is left out,
-- for whichever reason, is PLACE's.
WITH item AS (
    SELECT *
      FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[],
                  $7::text[], $8::bigint[], $9::bigint[], $10::text[])
           WITH ORDINALITY AS item (account_id, request_id, key_id, wanted, minimum, endpoint,
                                    model, known_input, estimated_output, rates, number)
     LIMIT (SELECT cardinality($1))
), account AS (
    SELECT item.*, a.balance + a.overdraft - a.held AS available
      FROM item
      JOIN accounts a ON a.id = item.account_id
      JOIN api_keys k ON k.id = item.key_id
       FOR NO KEY UPDATE OF a{or_skip}
       -- The foreign key would wait for one whose secret is being changed.
       FOR KEY SHARE OF k SKIP LOCKED
), line AS (
    SELECT *, row_number() OVER (PARTITION BY account_id ORDER BY number) AS place FROM account
), claim AS (
    -- Who waits goes before the first of an account, and is looked for once.
    SELECT *, sum(wanted + CASE place WHEN 1 THEN (
               SELECT coalesce(sum(w.wanted), 0)
                 FROM waiters w
                WHERE w.account_id = line.account_id AND w.alive_until > now())
           ELSE 0 END) OVER (PARTITION BY account_id ORDER BY number) AS up_to
      FROM line
), placed AS (
    INSERT INTO holds
           (account_id, request_id, key_id, amount, endpoint, model, known_input, lease_until,
            estimated_input, estimated_output, rates)
    SELECT account_id, request_id, key_id, wanted, endpoint, model, known_input,
           now() + make_interval(secs => $11), known_input, estimated_output, rates::jsonb
      FROM claim
     WHERE up_to <= available AND wanted >= minimum
     ORDER BY number
    ON CONFLICT (account_id, request_id) DO NOTHING
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

FUNDS: Final = """
-- $1 account
SELECT balance, held, overdraft FROM accounts WHERE id = $1
"""

WAITED_FOR: Final = """
-- $1 account
-- Credits that all who wait for the account have asked for.
SELECT coalesce(sum(wanted), 0)::bigint
  FROM waiters
 WHERE account_id = $1 AND alive_until > now()
"""

WAITING: Final = """
-- $1 account
SELECT count(*) FROM waiters WHERE account_id = $1 AND alive_until > now()
"""

# The compare-and-set on the hold's state is what makes a charge happen once: when it finds no
# open hold, nothing below it finds a row either.
_CHARGE: Final = """
-- $1 account, $2 request, $3 charge, $4 estimated,
-- $5..$13 input, cached input, output, reasoning, audio input, audio output, image input,
-- image output, total
WITH hold AS (
    UPDATE holds
       SET state = '{state}', ended_at = now()
     WHERE account_id = $1 AND request_id = $2 AND state = 'open'{only_if}
    RETURNING amount
), account AS (
    UPDATE accounts
       SET balance = balance - $3, held = held - hold.amount
      FROM hold
     WHERE id = $1
    RETURNING balance, held, hold.amount AS hold_amount
), entry AS (
    INSERT INTO ledger_entries
           (account_id, kind, amount, balance_after, request_id, actor, note, estimated)
    SELECT $1, 'charge', -$3, balance, $2, '{actor}', '{note}', $4
      FROM account
), record AS (
    INSERT INTO usage
           (account_id, request_id, charge, estimated, input, cached_input, output, reasoning,
            audio_input, audio_output, image_input, image_output, total, overrun)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, greatest($3 - hold_amount, 0)
      FROM account
)
SELECT balance, held FROM account
"""

SETTLE: Final = _CHARGE.format(state="settled", only_if="", actor="proxy", note="")

_SETTLE_MANY: Final = """
-- $1 accounts, $2 requests, $3 charges, $4 estimated,
-- $5..$13 input, cached input, output, reasoning, audio input, audio output, image input,
-- image output, total
-- As SETTLE: the compare-and-set of each hold, then each account's row, once, then the entries, in
-- order. What is locked or not open, or asked for twice, is SETTLE's. So is a hold that was renewed
-- at this very moment: where it lies now, this statement does not see it.
WITH item AS (
    SELECT *
      FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::boolean[], $5::bigint[], $6::bigint[],
                  $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
                  $12::bigint[], $13::bigint[])
           WITH ORDINALITY AS item (account_id, request_id, charge, estimated, input, cached_input,
                                    output, reasoning, audio_input, audio_output, image_input,
                                    image_output, total, number)
     LIMIT (SELECT cardinality($1))
), hold AS (
    SELECT item.*, h.place, a.balance, a.held
      FROM item
     CROSS JOIN LATERAL (
           SELECT account_id, ctid AS place
             FROM holds
            WHERE account_id = item.account_id AND request_id = item.request_id AND state = 'open'
              FOR NO KEY UPDATE SKIP LOCKED) h
      JOIN accounts a ON a.id = h.account_id
       FOR NO KEY UPDATE OF a{or_skip}
), ended AS (
    UPDATE holds h
       SET state = 'settled', ended_at = now()
      FROM hold
     WHERE h.ctid = hold.place
    RETURNING hold.*, h.amount
), charged AS (
    SELECT *, balance - (sum(charge) OVER up_to)::bigint AS balance_after,
           held - (sum(amount) OVER (PARTITION BY account_id))::bigint AS held_after
      FROM ended
    WINDOW up_to AS (PARTITION BY account_id ORDER BY number)
), account AS (
    UPDATE accounts
       SET balance = balance - charge, held = held - amount
      FROM (SELECT account_id, sum(charge)::bigint AS charge, sum(amount)::bigint AS amount
              FROM ended
             GROUP BY account_id) e
     WHERE id = account_id
), entry AS (
    INSERT INTO ledger_entries
           (account_id, kind, amount, balance_after, request_id, actor, note, estimated)
    SELECT account_id, 'charge', -charge, balance_after, request_id, 'proxy', '', estimated
      FROM charged
     ORDER BY number
), record AS (
    INSERT INTO usage
           (account_id, request_id, charge, estimated, input, cached_input, output, reasoning,
            audio_input, audio_output, image_input, image_output, total, overrun)
    SELECT account_id, request_id, charge, estimated, input, cached_input, output, reasoning,
           audio_input, audio_output, image_input, image_output, total,
           greatest(charge - amount, 0)
      FROM charged
)
SELECT number, balance_after, held_after FROM charged
"""

SETTLE_MANY: Final = _SETTLE_MANY.format(or_skip=" SKIP LOCKED")

SETTLE_MANY_OF_ONE: Final = _SETTLE_MANY.format(or_skip="")

EXPIRE: Final = _CHARGE.format(
    state="expired",
    # $14: the process is known to be gone. Otherwise the lease must have ended, on this clock.
    only_if=" AND ($14 OR lease_until < now())",
    actor="sweep",
    note="its process was gone",
)

CORRECT: Final = """
-- Parameters as those of a charge.
-- The true usage of a request whose hold had expired by then: the ledger gets the difference, and
-- the record of usage the truth. Once, by compare-and-set on corrected_at.
WITH before AS (
    SELECT u.charge
      FROM usage u
      JOIN holds h ON h.account_id = u.account_id AND h.request_id = u.request_id
     WHERE u.account_id = $1 AND u.request_id = $2
       AND h.state = 'expired' AND u.corrected_at IS NULL
       FOR UPDATE OF u
), record AS (
    UPDATE usage u
       SET charge = $3, estimated = $4, input = $5, cached_input = $6, output = $7,
           reasoning = $8, audio_input = $9, audio_output = $10, image_input = $11,
           image_output = $12, total = $13,
           overrun = greatest($3 - h.amount, 0), corrected_at = now()
      FROM before, holds h
     WHERE u.account_id = $1 AND u.request_id = $2
       AND h.account_id = $1 AND h.request_id = $2
    RETURNING before.charge AS charged
), account AS (
    UPDATE accounts SET balance = balance + charged - $3 FROM record WHERE id = $1
    RETURNING balance, held, charged
), entry AS (
    INSERT INTO ledger_entries
           (account_id, kind, amount, balance_after, request_id, actor, note, estimated)
    SELECT $1, 'adjustment', charged - $3, balance, $2, 'proxy',
           'true usage of a request that was charged by estimate', $4
      FROM account
     WHERE charged <> $3
)
SELECT balance, held FROM account
"""

ENDED: Final = """
-- $1 account, $2 request
-- What a hold that has ended was charged, and the account as it is now.
SELECT u.charge, a.balance, a.held
  FROM holds h
  JOIN accounts a ON a.id = h.account_id
  LEFT JOIN usage u ON u.account_id = h.account_id AND u.request_id = h.request_id
 WHERE h.account_id = $1 AND h.request_id = $2
"""

VOID: Final = """
-- $1 account, $2 request
WITH hold AS (
    UPDATE holds
       SET state = 'voided', ended_at = now()
     WHERE account_id = $1 AND request_id = $2 AND state = 'open'
    RETURNING amount
)
UPDATE accounts SET held = held - hold.amount FROM hold WHERE id = $1
"""

LEAVE_TOMBSTONE: Final = """
-- $1 account, $2 request, $3 key, $4 endpoint
-- Where no hold was placed, a voided one takes its place, so that a statement that is still on its
-- way can no longer place it; one that is just placing it is waited for. VOID does the rest.
INSERT INTO holds (account_id, request_id, key_id, amount, endpoint, state, ended_at)
VALUES ($1, $2, $3, 1, $4, 'voided', now())
ON CONFLICT (account_id, request_id) DO NOTHING
"""

RENEW: Final = """
-- $1 accounts, $2 requests, $3 known inputs or nulls, $4 known outputs or nulls,
-- $5 lease in seconds
-- Those that are being ended right now need no lease any more. Nothing waits for the disk: a lease
-- that is lost in a crash of the database is renewed before anybody may end its hold.
WITH k AS (
    SELECT h.place, item.input, item.output
      FROM (SELECT *
              FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[])
             LIMIT (SELECT cardinality($1))) item (account_id, request_id, input, output)
     CROSS JOIN LATERAL (
           SELECT ctid AS place
             FROM holds
            WHERE account_id = item.account_id AND request_id = item.request_id AND state = 'open'
              FOR NO KEY UPDATE SKIP LOCKED) h
)
UPDATE holds
   SET lease_until = now() + make_interval(secs => $5),
       known_input = coalesce(k.input, known_input),
       known_output = coalesce(k.output, known_output)
  FROM k, (SELECT set_config('synchronous_commit', 'off', true)) relaxed
 WHERE holds.ctid = k.place
"""

LAPSED: Final = """
-- $1 how many
-- Open holds whose lease has ended, but for those that somebody is ending right now.
SELECT account_id, request_id, amount, rates::text, known_input, known_output
  FROM holds
 WHERE state = 'open' AND lease_until < now()
 ORDER BY lease_until
 LIMIT $1
   FOR UPDATE SKIP LOCKED
"""

KNOWN: Final = """
-- $1 account, $2 request
SELECT amount, rates::text, known_input, known_output
  FROM holds
 WHERE account_id = $1 AND request_id = $2
"""

ENTER: Final = """
-- $1 account, $2 wanted, $3 seconds for which the waiter counts as there
INSERT INTO waiters (account_id, wanted, alive_until)
VALUES ($1, $2, now() + make_interval(secs => $3))
RETURNING position
"""

LEAVE: Final = """
-- $1 account, $2 position
DELETE FROM waiters WHERE account_id = $1 AND position = $2
"""

STAY: Final = """
-- $1 accounts, $2 positions, $3 seconds
UPDATE waiters w
   SET alive_until = now() + make_interval(secs => $3)
  FROM unnest($1::bigint[], $2::bigint[]) AS k (account_id, position)
 WHERE w.account_id = k.account_id AND w.position = k.position
"""

PROMISING: Final = """
-- $1 accounts, $2 positions, $3 wanted, $4 minimum
-- Those of the waiters who are worth another try: it fits now, or never will.
SELECT k.position
  FROM (SELECT *
          FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
         LIMIT (SELECT cardinality($1))) k (account_id, position, wanted, minimum)
  JOIN accounts a ON a.id = k.account_id
 WHERE balance + overdraft < k.minimum
    OR least(k.wanted, balance + overdraft) <= balance - held + overdraft - (
           SELECT coalesce(sum(w.wanted), 0)
             FROM waiters w
            WHERE w.account_id = k.account_id AND w.alive_until > now()
              AND w.position < k.position)
"""

FORGET_WAITERS: Final = """
-- Of processes that are gone.
DELETE FROM waiters WHERE alive_until < now() - interval '1 minute'
"""

OUTGROWN: Final = """
-- Tables that were small when they were last looked at, and are not any more. A plan made then
-- reads all of them, a foreign key's too, and is kept until somebody analyses.
SELECT oid::regclass::text
  FROM pg_class
 WHERE oid = ANY ('{users,accounts,api_keys,holds,ledger_entries,usage,waiters}'::regclass[])
   AND relpages < 32 AND pg_relation_size(oid) >= 32 * current_setting('block_size')::bigint
"""
