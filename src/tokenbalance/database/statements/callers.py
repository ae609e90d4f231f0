"""Whose key it is, and when it was last used.

A key of a user who was disabled does not work, whoever pays; that of a team may have no user.
"""

from typing import Final

FIND_CALLERS: Final = """
-- $1 SHA-256 of the secrets
SELECT k.user_id, k.account_id, k.id AS key_id,
       a.balance - a.held + a.overdraft AS available,
       a.user_id IS NOT NULL AND u.is_superuser AS is_superuser,
       k.kind = 'sign-in' AS signed_in, k.insufficient_status,
       a.balance + a.overdraft AS spendable, a.balance, k.scopes, k.last_used_at,
       k.secret_sha256, k.force_store_false, coalesce(a.next_expiry <= now(), false) AS is_due,
       k.limits_version,
       CASE WHEN k.limits_version <> 0
            THEN jsonb_build_object(
                     'key', k.limits, 'account', a.limits, 'named_by', k.sub_account_from,
                     'end', k.sub_account_limits, 'member', CASE
                         WHEN a.user_id IS NULL THEN k.user_id END, 'project', k.project_id,
                     'of_member', CASE WHEN a.user_id IS NULL THEN (
                         SELECT m.limits
                           FROM memberships m
                          WHERE m.account_id = k.account_id AND m.user_id = k.user_id) END,
                     'of_project', CASE WHEN k.project_id IS NOT NULL THEN (
                         SELECT p.limits
                           FROM projects p
                          WHERE p.account_id = k.account_id AND p.id = k.project_id) END
                 )::text END AS limits,
       a.user_id IS NULL AS is_of_team
  FROM (SELECT DISTINCT * FROM unnest($1::bytea[]) LIMIT (SELECT cardinality($1))) asked (secret)
  JOIN api_keys k ON k.secret_sha256 = asked.secret
  JOIN accounts a ON a.id = k.account_id
  LEFT JOIN users u ON u.id = k.user_id
 WHERE k.revoked_at IS NULL
   AND (k.expires_at IS NULL OR k.expires_at > now())
   AND NOT k.is_suspended
   AND u.is_active IS NOT FALSE
"""

FUNDS_OF_CALLER: Final = """
-- $1 account, $2 SHA-256 of the secret
-- What the account has, and whether something is due that may change it; nothing if no request may
-- be sent with the secret any more.
SELECT a.balance, a.held, a.overdraft, coalesce(a.next_expiry <= now(), false)
  FROM accounts a
  JOIN api_keys k ON k.secret_sha256 = $2
  LEFT JOIN users u ON u.id = k.user_id
 WHERE a.id = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
   AND ('inference' = ANY (k.scopes) OR k.kind = 'sign-in')
   AND NOT k.is_suspended
   AND u.is_active IS NOT FALSE
"""

ENDED_KEYS: Final = """
-- $1 SHA-256 of the secrets
-- Those with which no request may be sent any more.
SELECT asked.secret
  FROM (SELECT * FROM unnest($1::bytea[]) LIMIT (SELECT cardinality($1))) asked (secret)
  LEFT JOIN api_keys k ON k.secret_sha256 = asked.secret
  LEFT JOIN users u ON u.id = k.user_id
 WHERE k.id IS NULL OR k.revoked_at IS NOT NULL OR k.expires_at <= now() OR k.is_suspended
    OR u.is_active IS FALSE
    OR NOT ('inference' = ANY (k.scopes) OR k.kind = 'sign-in')
"""

REFUSED_KEY: Final = """
-- $1 SHA-256 of the secret, or null; $2 key, or null
-- Why it is refused; nothing if there is no such key.
SELECT k.user_id, k.id,
       CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked'
            WHEN k.expires_at <= now() THEN 'expired'
            WHEN u.is_active IS FALSE THEN 'user_disabled'
            WHEN k.is_suspended THEN 'suspended'
            ELSE 'ended' END
  FROM api_keys k
  LEFT JOIN users u ON u.id = k.user_id
 WHERE k.secret_sha256 = $1 OR k.id = $2
"""

TOUCH_KEYS: Final = """
-- $1 keys
-- Skips keys that are locked right now: their next request will update them.
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
