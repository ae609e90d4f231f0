"""Placing holds: one, or those of many requests in one statement.

Of each there is one for requests that no limit binds, and one called `LIMITED`, for any.

Their commit does not wait for the disk: if the database crashes and loses it, the process that has
the request puts the hold back (`forgotten`).
"""

from typing import Final

from tokenbalance.database.statements.limits import ASKED, FEW, JUDGING, taking

_KEY: Final = """
                     LEFT JOIN users u ON u.id = k.user_id
                    WHERE k.secret_sha256 = $13 AND k.revoked_at IS NULL
                      AND (k.expires_at IS NULL OR k.expires_at > now())
                      AND ('inference' = ANY (k.scopes) OR k.kind = 'sign-in')
                      AND NOT k.is_suspended AND u.is_active IS NOT FALSE"""

PLACE: Final = f"""
-- $1 account, $2 request, $3 key, $4 wanted, $5 minimum, $6 endpoint, $7 model, $8 known input,
-- $9 lease in seconds, $10 position among the waiters or null, $11 estimated output,
-- $12 rates or null, $13 SHA-256 of the key's secret
-- Reserves what is wanted, or what the balance affords if that is less but at least the minimum.
-- Leaves enough for the waiters ahead of this request. It is one conditional UPDATE, so nothing can
-- happen between the check and the reservation. Nothing is reserved with a key that has ended, was
-- rotated, is suspended, lost its scope or got limits since it was looked up, for a user who was
-- disabled, or of an account with something due.
WITH account AS (
    UPDATE accounts
       SET held = held + least($4, balance + overdraft)
     WHERE id = $1
       AND (next_expiry IS NULL OR next_expiry > now())
       AND EXISTS (SELECT
                     FROM api_keys k{_KEY}
                      AND k.limits_version = 0)
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
"""  # noqa: S608 - made of constants

PLACE_LIMITED: Final = f"""
-- $1..$13 as PLACE, $14 version of the limits, $15 tokens, $16 subjects of the limits
-- PLACE for a key with limits: takes from all limits of the subjects, or reserves nothing. Tells as
-- well what they leave, and whether the window of one has ended, so that nothing could be taken.
WITH account AS (
    SELECT a.id AS account_id, least($4, a.balance + a.overdraft) AS credits
      FROM accounts a
     WHERE a.id = $1
       AND (a.next_expiry IS NULL OR a.next_expiry > now())
       AND EXISTS (SELECT
                     FROM api_keys k{_KEY}
                      AND k.limits_version = $14)
       AND least($4, a.balance + a.overdraft) >= $5
       AND least($4, a.balance + a.overdraft) <= a.balance - a.held + a.overdraft - (
               SELECT coalesce(sum(wanted), 0)
                 FROM waiters
                WHERE account_id = $1 AND alive_until > now()
                  AND ($10::bigint IS NULL OR position < $10))
       FOR NO KEY UPDATE OF a
), pair AS (
    SELECT {ASKED}
      FROM (SELECT credits, subject, 1 AS requests, $15::bigint AS tokens
              FROM account, unnest($16::text[]) AS subject
             LIMIT (SELECT cardinality($16))) s
     CROSS JOIN LATERAL (
           SELECT *
             FROM limits
            WHERE account_id = $1 AND limits.subject = s.subject
              FOR NO KEY UPDATE) l
), {JUDGING}, verdict AS (
    SELECT array_agg(id) AS limit_ids, NOT bool_and(is_now) AS is_stale, bool_and(fits) AS fits
      FROM judged
), placed AS (
    INSERT INTO open_holds
           (account_id, request_id, key_id, amount, endpoint, model, known_input, lease_until,
            estimated_input, estimated_output, rates, tokens, limit_ids)
    SELECT $1, $2, $3, credits, $6, $7, $8, now() + make_interval(secs => $9), $8, $11, $12,
           CASE WHEN limit_ids IS NULL THEN 0 ELSE $15 END, limit_ids
      FROM (SELECT set_config('synchronous_commit', 'off', true)) relaxed, account, verdict
     WHERE coalesce(fits, true)
    RETURNING amount
), reserved AS (
    UPDATE accounts SET held = held + amount FROM placed WHERE id = $1
), {taking("SELECT judged.* FROM judged, verdict WHERE verdict.fits")}
SELECT amount, verdict.limit_ids, coalesce(is_stale, false), room.id, unit, most, remaining, full_in
  FROM account
 CROSS JOIN verdict
  LEFT JOIN placed ON true
  LEFT JOIN room ON true
"""  # noqa: S608 - made of constants

_ITEM: Final = """
-- $1 accounts, $2 requests, $3 SHA-256 of the keys' secrets, $4 wanted, $5 minima, $6 endpoints,
-- $7 models, $8 known inputs, $9 estimated outputs, $10 which of $12 or nulls,
-- $11 lease in seconds, $12 different rates: few cards have so many models that all of a batch
-- differ{comment}
-- PLACE for requests that are not waiting: for each account, in order, as many as fit in full. None
-- of them is capped, and each account's row is written once. Whatever is left out, for any reason,
-- is left to PLACE.
WITH item AS (
    SELECT *
      FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bigint[], $5::bigint[], $6::text[],
                  $7::text[], $8::bigint[], $9::bigint[], $10::integer[]{columns})
           WITH ORDINALITY AS item (account_id, request_id, secret, wanted, minimum, endpoint,
                                    model, known_input, estimated_output, rates{names}, number)
     LIMIT (SELECT cardinality($1))
), account AS (
    SELECT item.*, k.id AS key_id, a.balance + a.overdraft - a.held AS available
      FROM item
      JOIN accounts a ON a.id = item.account_id
      JOIN api_keys k ON k.secret_sha256 = item.secret
      LEFT JOIN users u ON u.id = k.user_id
     WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
       AND NOT k.is_suspended AND u.is_active IS NOT FALSE
       AND ('inference' = ANY (k.scopes) OR k.kind = 'sign-in')
       AND k.limits_version = {version} AND (a.next_expiry IS NULL OR a.next_expiry > now())
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
)"""

_PLACED: Final = """, placed AS (
    INSERT INTO open_holds
           (account_id, request_id, key_id, amount, endpoint, model, known_input, lease_until,
            estimated_input, estimated_output, rates{names})
    SELECT account_id, request_id, key_id, wanted, endpoint, model, known_input,
           now() + make_interval(secs => $11), known_input, estimated_output,
           ($12::jsonb[])[rates]{values}
      FROM (SELECT set_config('synchronous_commit', 'off', true)) relaxed, {claims}
     ORDER BY number{or_not}
    RETURNING account_id, request_id, amount{returned}
), reserved AS (
    UPDATE accounts
       SET held = held + amount
      FROM (SELECT account_id, sum(amount)::bigint AS amount FROM placed GROUP BY account_id) p
     WHERE id = account_id
)"""

_FITS_THE_BALANCE: Final = "up_to <= available AND wanted >= minimum"


def _place_many(or_skip: str) -> str:
    items = _ITEM.format(or_skip=or_skip, comment="", columns="", names="", version="0")
    placed = _PLACED.format(
        names="",
        values="",
        claims=f"claim WHERE {_FITS_THE_BALANCE}",
        or_not="\n    ON CONFLICT (request_id, account_id) DO NOTHING",
        returned="",
    )
    return f"{items}{placed}\nSELECT account_id, request_id, amount FROM placed\n"


PLACE_MANY: Final = _place_many(" SKIP LOCKED")

PLACE_MANY_OF_ONE: Final = _place_many("")

_FITTING: Final = f""", fitting AS (
    SELECT * FROM claim WHERE {_FITS_THE_BALANCE}
), subject AS (
    SELECT account_id, subject, count(*) AS requests, sum(tokens)::bigint AS tokens,
           sum(wanted)::bigint AS credits
      FROM fitting, unnest(string_to_array(subjects, ' ')) AS subject
     GROUP BY account_id, subject
     LIMIT {FEW}
), pair AS (
    -- Each is locked once, however many items take from it.
    SELECT {ASKED}
      FROM subject s
      JOIN limits l ON l.account_id = s.account_id AND l.subject = s.subject
       FOR NO KEY UPDATE OF l
), {JUDGING}, verdict AS MATERIALIZED (
    -- All that the items of an account want fits, or all of them are left.
    SELECT account_id, array_agg(id) AS ids, array_agg(subject) AS subjects, bool_and(fits) AS fits
      FROM judged
     GROUP BY account_id
), item_limits AS (
    SELECT fitting.*, CASE
           WHEN is_mixed THEN (
               SELECT array_agg(id)
                 FROM unnest(v.ids, v.subjects) AS l (id, subject)
                WHERE l.subject = ANY (string_to_array(fitting.subjects, ' ')))
           ELSE v.ids END AS limit_ids
      FROM fitting
      LEFT JOIN verdict v USING (account_id)
     WHERE coalesce(v.fits, true)
    -- Removes nothing. Without it the limits are looked for once more, for the tokens.
    OFFSET 0
)"""  # noqa: S608 - made of constants


def _place_many_limited(or_skip: str) -> str:
    items = _ITEM.format(
        or_skip=or_skip,
        comment=",\n-- $13 versions of the limits or zeros, $14 tokens, $15 subjects of the limits,"
        "\n-- $16 whether another item of its account has other subjects",
        columns=", $13::bigint[], $14::bigint[], $15::text[], $16::boolean[]",
        names=", version, tokens, subjects, is_mixed",
        version="item.version",
    )
    placed = _PLACED.format(
        names=", tokens, limit_ids",
        values=", CASE WHEN limit_ids IS NULL THEN 0 ELSE tokens END, limit_ids",
        claims="item_limits",
        # What is placed is what was taken: a hold that cannot be fails the statement.
        or_not="",
        returned=", limit_ids",
    )
    took = taking("SELECT judged.* FROM judged JOIN verdict v USING (account_id) WHERE v.fits")
    return f"""{items}{_FITTING}{placed}, {took}
SELECT account_id, request_id, amount, limit_ids, NULL::bigint, NULL::interval FROM placed
 UNION ALL
SELECT id, unit, most, NULL, remaining, full_in FROM room
"""  # noqa: S608 - made of constants


PLACE_MANY_LIMITED: Final = _place_many_limited(" SKIP LOCKED")

PLACE_MANY_OF_ONE_LIMITED: Final = _place_many_limited("")
