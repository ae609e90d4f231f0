"""What must be true of limits: open holds took what is reserved, and limited keys say so."""

from __future__ import annotations

from typing import Final

from tokenbalance.books.ledger.invariants.proof import Invariant
from tokenbalance.model.limits import ACCOUNT, KEY, MEMBER, MINUTE, PROJECT

# A hold counts in the window that it was placed in. What a rate has left follows from time, not
# from holds.
_MISCOUNTED: Final = f"""
  FROM limits l
  LEFT JOIN (
       SELECT l.account_id, l.id,
              sum(CASE l.unit WHEN 'tokens' THEN h.tokens WHEN 'credits' THEN h.amount ELSE 1 END)
              AS number
         FROM open_holds h, unnest(h.limit_ids) AS limit_id, limits l
        WHERE l.account_id = h.account_id AND l.id = limit_id AND h.created_at >= l.window_start
        GROUP BY l.account_id, l.id) t USING (account_id, id)
 WHERE l.period <> '{MINUTE}'
   AND (l.reserved <> coalesce(t.number, 0) OR l.used < 0)
"""  # noqa: S608 - made of constants
EACH_LIMIT_IS_WHAT_OPEN_HOLDS_TOOK: Final = Invariant(
    f"EXISTS (SELECT {_MISCOUNTED})",
    f"""
SELECT format('limit %s of account %s, %s of %s: %s are reserved, open holds took %s; %s are used',
              id, account_id, l.name, l.subject, l.reserved, coalesce(t.number, 0), l.used)
       {_MISCOUNTED}
 ORDER BY account_id, id
""",
)

_UNCOUNTED: Final = "FROM open_holds WHERE tokens <> 0 AND limit_ids IS NULL"
NO_HOLD_TOOK_TOKENS_FROM_NOWHERE: Final = Invariant(
    f"EXISTS (SELECT {_UNCOUNTED})",
    f"""
SELECT format('hold %s of account %s: took %s tokens, but from no limit',
              request_id, account_id, tokens)
       {_UNCOUNTED}
 ORDER BY account_id, request_id
""",  # noqa: S608 - made of constants
)

# Keys whose version is 0 take from no limit, so that would be one that does not limit.
_MISBOUND: Final = f"""
  FROM api_keys k
  JOIN accounts a ON a.id = k.account_id
 CROSS JOIN LATERAL (
       SELECT k.limits <> '{{}}' OR a.limits <> '{{}}' OR k.sub_account_from IS NOT NULL
              OR EXISTS (SELECT
                           FROM limits l
                          WHERE l.account_id = k.account_id
                            AND l.subject IN ('{ACCOUNT}', '{KEY}' || k.id, '{MEMBER}' || k.user_id,
                                              '{PROJECT}' || k.project_id))
              OR a.kind = 'team' AND (
                 EXISTS (SELECT
                           FROM memberships m
                          WHERE m.account_id = k.account_id AND m.user_id = k.user_id
                            AND m.limits <> '{{}}')
                 OR EXISTS (SELECT
                              FROM projects p
                             WHERE p.account_id = k.account_id AND p.id = k.project_id
                               AND p.limits <> '{{}}')) AS is_limited) binding
 WHERE k.revoked_at IS NULL AND (k.limits_version <> 0) <> is_limited
"""  # noqa: S608 - made of constants
EACH_LIMITED_KEY_HAS_A_VERSION: Final = Invariant(
    f"EXISTS (SELECT {_MISBOUND})",
    f"""
SELECT format('key %s of account %s: %s, but its version of limits is %s', k.id, k.account_id,
              CASE WHEN is_limited THEN 'has limits' ELSE 'has no limits' END, k.limits_version)
       {_MISBOUND}
 ORDER BY k.account_id, k.id
""",
)

LIMITS: Final = (
    EACH_LIMIT_IS_WHAT_OPEN_HOLDS_TOOK,
    NO_HOLD_TOOK_TOKENS_FROM_NOWHERE,
    EACH_LIMITED_KEY_HAS_A_VERSION,
)
