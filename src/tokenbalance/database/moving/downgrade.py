"""The move down, from version 2 to version 1, in one transaction that locks the books.

What version 1 does not keep is lost: the row of each correction, folded into the usage that it
corrects, and that of a correction of 0 credits with its id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from tokenbalance.database.moving import copies, old_tables
from tokenbalance.database.moving.contract import take_over_ids
from tokenbalance.database.moving.locks import UNLIMITED
from tokenbalance.database.moving.new_tables import KINDS

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from tokenbalance.database.moving.progress import Progress


class KindsUnknown(RuntimeError):
    """The books have quantities that version 1 cannot keep."""


_UNKNOWN: Final = f"""
SELECT DISTINCT kind
  FROM (SELECT jsonb_object_keys(quantities) AS kind FROM ledger
         UNION ALL SELECT kind FROM usage_day_kinds WHERE quantity <> 0
         UNION ALL SELECT kind FROM usage_total_kinds WHERE quantity <> 0) used
 WHERE kind <> ALL ('{{{",".join(KINDS)}}}'::text[])
 ORDER BY kind
"""  # noqa: S608 - made of constants

# A correction has the trace of its request; one that came from version 1 left it with the charge.
_REQUESTS: Final = """
  FROM ledger e
  LEFT JOIN ledger c ON c.request_id = e.request_id AND c.account_id = e.account_id
   AND c.kind = 'adjustment' AND c.request_id IS NOT NULL AND e.state = 'expired'
 WHERE e.state IS NOT NULL
"""

_HOLDS: Final = f"""
INSERT INTO holds
       (account_id, request_id, key_id, amount, state, endpoint, model, created_at, ended_at,
        lease_until, estimated_input, estimated_output, rates, {", ".join(copies.TRACE)})
SELECT e.account_id, e.request_id, e.key_id, greatest(e.hold, 1), e.state, e.endpoint, e.model,
       e.started_at, e.created_at, e.created_at, coalesce(e.estimated_input, 0),
       coalesce(e.estimated_output, 0), e.rates,
       {", ".join(f"coalesce(c.{name}, e.{name})" for name in copies.TRACE)}
{_REQUESTS}
"""

_OPEN: Final = """
INSERT INTO holds
       (account_id, request_id, key_id, amount, endpoint, model, created_at, lease_until,
        known_input, known_output, estimated_input, estimated_output, rates)
SELECT account_id, request_id, key_id, amount, endpoint, model, created_at, lease_until,
       known_input, known_output, estimated_input, estimated_output, rates
  FROM open_holds
 WHERE amount > 0
"""

_USAGE: Final = f"""
INSERT INTO usage
       (account_id, request_id, charge, overrun, total, estimated, created_at, corrected_at,
        {", ".join(KINDS)})
SELECT e.account_id, e.request_id, -e.amount - coalesce(c.amount, 0),
       e.overrun + coalesce(c.overrun, 0), e.total + coalesce(c.total, 0),
       coalesce(c.estimated, e.estimated), e.created_at, c.created_at,
       {
    ", ".join(
        f"coalesce((e.quantities->>'{kind}')::bigint, 0)"
        f" + coalesce((c.quantities->>'{kind}')::bigint, 0)"
        for kind in KINDS
    )
}
{_REQUESTS} AND e.kind = 'charge'
"""

_ENTRIES: Final = """
INSERT INTO ledger_entries
       (id, account_id, kind, amount, balance_after, request_id, actor, note, estimated, created_at,
        idempotency_key, asked)
OVERRIDING SYSTEM VALUE
SELECT id, account_id, kind, amount, balance_after, request_id, actor, note, estimated, created_at,
       idempotency_key, asked
  FROM ledger
 WHERE balance_after IS NOT NULL
   AND NOT (kind = 'adjustment' AND request_id IS NOT NULL AND amount = 0)
 ORDER BY id
"""


def move_down(connection: Connection, progress: Progress) -> None:
    """Move the books to version 1; all of it happens when the caller commits.

    Raises:
        KindsUnknown: there are quantities that version 1 cannot keep; nothing was changed.

    """
    connection.exec_driver_sql(UNLIMITED)
    connection.exec_driver_sql(
        "LOCK TABLE ledger, open_holds, accounts, api_keys, usage_days, usage_day_kinds,"
        " usage_totals, usage_total_kinds IN ACCESS EXCLUSIVE MODE"
    )
    _refuse_unknown_kinds(connection)
    connection.exec_driver_sql("SELECT FROM usage_summed FOR UPDATE")
    connection.exec_driver_sql(copies.CHANGED_DAYS, (copies.FIRST_MADE_ID, copies.FIRST_MADE_ID))
    connection.exec_driver_sql(copies.VOIDS_SUMMED.format(sign="+"))
    for what, statements in (
        ("requests", (*old_tables.TABLES, _HOLDS, _OPEN)),
        ("usage", (_USAGE,)),
        ("ledger entries", (_ENTRIES,)),
        ("indexes and constraints", old_tables.GUARDS),
    ):
        progress.say(f"Moving the books to version 1: {what}")
        for statement in statements:
            connection.exec_driver_sql(statement)
    for table, key in (
        ("usage_day", "account_id, day, model, key_id"),
        ("usage_total", "day, model"),
    ):
        _fold_kinds(connection, table, key)
    take_over_ids(connection, "ledger", "ledger_entries")
    connection.exec_driver_sql("DROP TABLE ledger, open_holds, usage_day_kinds, usage_total_kinds")


def _refuse_unknown_kinds(connection: Connection) -> None:
    unknown = cast("list[str]", connection.exec_driver_sql(_UNKNOWN).scalars().all())
    if unknown:
        msg = (
            "The books cannot be moved to version 1, which does not know these kinds of usage:"
            f" {', '.join(unknown)}"
        )
        raise KindsUnknown(msg)


def _fold_kinds(connection: Connection, table: str, key: str) -> None:
    """Put the rows of each kind back into columns of the sums."""
    columns = ", ".join(f"ADD COLUMN {kind} bigint NOT NULL DEFAULT 0" for kind in KINDS)
    connection.exec_driver_sql(f"ALTER TABLE {table}s {columns}")
    sums = ", ".join(
        f"coalesce(sum(quantity) FILTER (WHERE kind = '{kind}'), 0)::bigint AS {kind}"
        for kind in KINDS
    )
    connection.exec_driver_sql(
        f"UPDATE {table}s d SET {', '.join(f'{kind} = k.{kind}' for kind in KINDS)}"  # noqa: S608 - made of constants
        f"  FROM (SELECT {key}, {sums} FROM {table}_kinds GROUP BY {key}) k"
        f" WHERE ({', '.join(f'd.{name}' for name in key.split(', '))})"
        f" = ({', '.join(f'k.{name}' for name in key.split(', '))})"
    )
