"""The plan of every statement of the request path and of the sweep, whatever ANALYZE has seen.

A plan follows from statistics, and these from the moment at which somebody took them. Each
statement is planned in each of several states of large books, as it is prepared (generic) and for
what it is given (custom), and must read its tables by what is decided here.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg
import pytest
from sqlalchemy import Table, inspect

from tests.support import postgres
from tokenbalance.database import statements
from tokenbalance.database.tables import OpenHold

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tokenbalance.database.connections import Pool
    from tokenbalance.postgres import EmbeddedPostgres

    Plans: TypeAlias = dict[str, dict[str, frozenset[str]]]

STATEMENTS: Final[dict[str, str]] = {
    name: statement
    for name, statement in vars(statements).items()
    if isinstance(statement, str) and name.isupper() and not name.startswith("_")
}

# What a table may be looked up by.
A_HOLD = frozenset({"pk_open_holds: request_id, account_id"})
A_LOCKED_HOLD = frozenset({"place in open_holds"})
AN_END = frozenset({"uq_ledger_one_end_per_request: request_id"})
LATER_ROWS = frozenset({"ix_ledger_after_ends: request_id"})
THE_ACCOUNTS_ROWS = frozenset({"ix_ledger_account_id_id: account_id, id, id"})
AN_ACCOUNT = frozenset({"pk_accounts: id"})
A_KEY = frozenset({"pk_api_keys: id"})
A_SECRET = frozenset({"uq_api_keys_secret_sha256: secret_sha256"})
A_USER = frozenset({"pk_users: id"})
A_MEMBER = frozenset({"pk_memberships: account_id, user_id"})
A_PROJECT = frozenset({"pk_projects: account_id, id"})
AN_OBJECT = frozenset({"pk_objects: object_id, kind, upstream"})
ITS_WHOLE = frozenset({"pk_objects: object_id, upstream"})
ITS_PARTS = frozenset({"ix_objects_parts: parent_id, account_id", "ix_objects_parts: parent_id"})
A_LIST = frozenset(
    {"ix_objects_listed: account_id, kind", "ix_objects_listed: account_id, kind, created_at"}
)
A_LOCKED_OBJECT = frozenset({"place in objects"})
WHAT_EXPIRES = frozenset({"ix_objects_expiring: expires_at"})
WHAT_IS_OLD = frozenset({"ix_objects_created_at: created_at"})
WHAT_IS_STORED = frozenset({"all of ix_objects_stored"})
WHAT_IT_STORES = frozenset({"ix_objects_stored: account_id"})
ENTRIES_OF_ITS_KEYS = frozenset(
    {"uq_ledger_one_entry_per_idempotency_key: account_id, idempotency_key"}
)
ENTRIES_OF_A_KIND = frozenset({"ix_ledger_not_ends_of_account: account_id, kind"})
ITS_LIMITS = frozenset({"uq_limits_subject_name: account_id, subject"})
THE_FEW = frozenset({"all of limits"})
A_LIMIT = frozenset({"pk_limits: account_id, id"})
WHO_IS_DUE = frozenset({"ix_accounts_next_expiry: next_expiry"})
ITS_ENTRIES = frozenset(
    {
        "ix_ledger_account_id_id: account_id",
        "ix_ledger_account_id_id: account_id, id",
        "ix_ledger_not_ends_of_account: account_id, kind, id",
    }
)
ITS_BURNS = frozenset({"pk_burns: account_id", "pk_burns: account_id, up_to"})
ITS_GRANTS = frozenset({"pk_grants: account_id"})
ITS_ALLOWANCES = frozenset({"pk_allowances: account_id"})
AN_ALLOWANCE = frozenset({"pk_allowances: account_id, id"})
A_WAITER = frozenset({"pk_waiters: account_id, position"})
THE_ACCOUNTS_WAITERS = A_WAITER | {"pk_waiters: account_id"}

# What is read as a whole.
THE_OPEN_HOLDS = frozenset({"all of open_holds"})
ALL_WAITERS = frozenset({"all of waiters"})
THE_ONE_BOOK = frozenset({"all of books"})
GROWING = frozenset(
    {f"all of {table}" for table in ("open_holds", "ledger", "waiters", "objects", "limits")}
)
THE_CATALOG = frozenset({"pg_class_oid_index: oid", "all of pg_class"})
THE_DATABASE = frozenset({"pg_database_datname_index: datname", "all of pg_database"})

DECIDED: Final[dict[str, tuple[frozenset[str], ...]]] = {
    "WHICH_BOOKS": (THE_ONE_BOOK,),
    "FIND_CALLERS": (A_SECRET, AN_ACCOUNT, A_USER, A_MEMBER, A_PROJECT),
    "TOUCH_KEYS": (A_KEY,),
    "FUNDS_OF_CALLER": (AN_ACCOUNT, A_SECRET, A_USER),
    "ENDED_KEYS": (A_SECRET, A_USER),
    "REFUSED_KEY": (A_SECRET, A_KEY, A_USER),
    "PLACE": (AN_ACCOUNT, A_SECRET, A_USER, THE_ACCOUNTS_WAITERS),
    "PLACE_LIMITED": (AN_ACCOUNT, A_SECRET, A_USER, THE_ACCOUNTS_WAITERS, ITS_LIMITS, A_LIMIT),
    "PLACE_MANY": (AN_ACCOUNT, A_SECRET, A_USER, THE_ACCOUNTS_WAITERS),
    "PLACE_MANY_OF_ONE": (AN_ACCOUNT, A_SECRET, A_USER, THE_ACCOUNTS_WAITERS),
    "PLACE_MANY_LIMITED": (
        AN_ACCOUNT,
        A_SECRET,
        A_USER,
        THE_ACCOUNTS_WAITERS,
        ITS_LIMITS,
        A_LIMIT,
    ),
    "PLACE_MANY_OF_ONE_LIMITED": (
        AN_ACCOUNT,
        A_SECRET,
        A_USER,
        THE_ACCOUNTS_WAITERS,
        ITS_LIMITS,
        A_LIMIT,
    ),
    "LIMITS": (AN_ACCOUNT, ITS_LIMITS),
    "ENTER_WINDOW": (AN_ACCOUNT, A_LIMIT),
    "OPEN_END_USER": (AN_ACCOUNT, ITS_LIMITS),
    "FUNDS": (AN_ACCOUNT,),
    "WAITED_FOR": (THE_ACCOUNTS_WAITERS,),
    "WAITING": (THE_ACCOUNTS_WAITERS,),
    "SETTLE": (A_HOLD, AN_ACCOUNT),
    "SETTLE_MANY": (A_HOLD, A_LOCKED_HOLD, AN_ACCOUNT),
    "SETTLE_MANY_OF_ONE": (A_HOLD, A_LOCKED_HOLD, AN_ACCOUNT),
    "SETTLE_RESTORED": (A_HOLD, AN_ACCOUNT, ITS_WHOLE, A_LIMIT),
    "SETTLE_LIMITED": (A_HOLD, AN_ACCOUNT, A_LIMIT),
    "SETTLE_MANY_LIMITED": (A_HOLD, A_LOCKED_HOLD, AN_ACCOUNT, A_LIMIT),
    "SETTLE_MANY_OF_ONE_LIMITED": (A_HOLD, A_LOCKED_HOLD, AN_ACCOUNT, A_LIMIT),
    "SETTLE_FULL": (A_HOLD, AN_ACCOUNT, ITS_WHOLE, A_LIMIT),
    "SETTLE_MANY_FULL": (A_HOLD, A_LOCKED_HOLD, AN_ACCOUNT, ITS_WHOLE, A_LIMIT),
    "SETTLE_MANY_OF_ONE_FULL": (A_HOLD, A_LOCKED_HOLD, AN_ACCOUNT, ITS_WHOLE, A_LIMIT),
    "FIND_OBJECTS": (AN_OBJECT,),
    "RECORD_OBJECTS": (ITS_WHOLE,),
    "PLACE_OF_OBJECT": (AN_OBJECT,),
    "NEWEST_OBJECTS": (A_LIST,),
    "OLDEST_OBJECTS": (A_LIST,),
    "DESCRIBE_OBJECT": (AN_OBJECT,),
    "DELETE_OBJECT": (AN_OBJECT, ITS_PARTS),
    "RESTORE_OBJECT": (AN_OBJECT, ITS_PARTS),
    "OCCUPY_OBJECT": (AN_OBJECT,),
    "VACATE_OBJECT": (AN_OBJECT,),
    "DELETE_EXPIRED_OBJECTS": (WHAT_EXPIRES, A_LOCKED_OBJECT, ITS_PARTS),
    "FORGET_OBJECTS": (WHAT_IS_OLD, A_LOCKED_OBJECT, AN_OBJECT),
    "STORING": (WHAT_IS_STORED, ENTRIES_OF_ITS_KEYS),
    "CHARGE_STORAGE": (AN_ACCOUNT, ENTRIES_OF_A_KIND, WHAT_IT_STORES),
    "FORGOTTEN": (A_HOLD, AN_END),
    "LOCK_ACCOUNT": (AN_ACCOUNT,),
    "RESTORE": (AN_ACCOUNT, AN_END, A_LIMIT),
    "EXPIRE": (A_HOLD, AN_ACCOUNT, A_LIMIT),
    "EXPIRE_RESTORED": (A_HOLD, AN_ACCOUNT, A_LIMIT),
    "NEWEST_RATES": (AN_END, LATER_ROWS),
    "CORRECT": (AN_END, AN_ACCOUNT, LATER_ROWS),
    "ENDED": (AN_END, AN_ACCOUNT, LATER_ROWS, A_HOLD),
    "RERATED_ACCOUNTS": (AN_ACCOUNT | {"all of pk_accounts"}, THE_ACCOUNTS_ROWS),
    "CHARGED": (THE_ACCOUNTS_ROWS, LATER_ROWS),
    "RERATE": (AN_END, AN_ACCOUNT, LATER_ROWS),
    "VOID": (A_HOLD, AN_ACCOUNT, A_LIMIT),
    "LEAVE_TOMBSTONE": (AN_ACCOUNT, A_KEY, AN_END),
    "FORGET_TOMBSTONES": (THE_OPEN_HOLDS, A_LOCKED_HOLD, THE_DATABASE),
    "RENEW": (A_HOLD, A_LOCKED_HOLD),
    "LAPSED": (THE_OPEN_HOLDS,),
    "KNOWN": (A_HOLD, AN_END),
    "ENTER": (),
    "LEAVE": (A_WAITER,),
    "RENEW_WAITERS": (A_WAITER,),
    "PROMISING": (AN_ACCOUNT, A_WAITER),
    "PROMISING_LIMITED": (AN_ACCOUNT, A_WAITER, ITS_LIMITS),
    "FORGET_WAITERS": (ALL_WAITERS,),
    "OUTGROWN": (THE_CATALOG,),
    "LITTERED": (),
    "COUNT_REFUSALS": (),
    "DUE_ACCOUNTS": (WHO_IS_DUE,),
    "LOCK_PURSE": (AN_ACCOUNT,),
    "LOCK_DUE_PURSE": (AN_ACCOUNT,),
    "LAST_BURN": (ITS_BURNS,),
    "LAST_ENTRY": (ITS_ENTRIES,),
    "GRANTS": (ITS_GRANTS,),
    "ENTRIES_AFTER": (ITS_ENTRIES | ENTRIES_OF_A_KIND,),
    "LATE_CHARGES": (ITS_ENTRIES,),
    "ENTRIES_OF_REQUEST": (AN_END, LATER_ROWS),
    "BURN_OF_ENTRY": (ITS_BURNS,),
    "HELD_BEFORE": (THE_OPEN_HOLDS | {"pk_open_holds: account_id"},),
    "DUE_ALLOWANCES": (ITS_ALLOWANCES,),
    "MOVE_ALLOWANCE": (AN_ALLOWANCE,),
    "ENTER_BY_ITSELF": (AN_ACCOUNT,),
    "SAVE_GRANTS": (),
    "SAVE_BURN": (),
    "FORGET_BURN": (ITS_BURNS,),
    "SET_NEXT_EXPIRY": (AN_ACCOUNT,),
}

ALONE = """
-- No trigger and no foreign key is looked at, and nobody else analyses.
SET session_replication_role = replica;
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY
        '{users,accounts,api_keys,open_holds,ledger,waiters,objects,limits,grants,burns}'::text[]
    LOOP
        EXECUTE format('ALTER TABLE %I SET (autovacuum_enabled = false)', name);
    END LOOP;
END $$;
"""
BOOKS = """
INSERT INTO users (email) SELECT n || '@example.com' FROM generate_series(1, 100000) n;
INSERT INTO accounts (user_id) SELECT id FROM users ORDER BY id;
INSERT INTO api_keys (account_id, prefix, secret_sha256)
SELECT id, '', sha256(id::text::bytea) FROM accounts ORDER BY id;
INSERT INTO ledger (account_id, kind, state, amount, balance_after, request_id, key_id, hold, total,
                    endpoint, started_at, actor)
SELECT id, 'charge', 'settled', -2, 0, 'ended' || id, id, 2, 2, '', now(), '' FROM accounts;
INSERT INTO open_holds (account_id, request_id, key_id, amount, endpoint)
SELECT id, 'ended' || id, id, 2, '' FROM accounts LIMIT 3000;
INSERT INTO objects (account_id, object_id, kind, parent_id, bytes, expires_at)
SELECT id, 'made' || id, made, CASE made WHEN 'item' THEN 'parent' || id END,
       CASE made WHEN 'file' THEN 9 END,
       CASE WHEN made = 'file' AND id % 50 = 0 THEN now() + interval '1 day' END
  FROM accounts, unnest('{response,item,file}'::text[]) made
 WHERE id <= 30000 AND (made <> 'file' OR id % 10 = 0);
INSERT INTO memberships (account_id, user_id, role)
SELECT accounts.id, n, 'member' FROM accounts, generate_series(1, 50) n WHERE accounts.id <= 400;
INSERT INTO projects (account_id, name) SELECT id, 'p' FROM accounts WHERE id <= 10000;
INSERT INTO allowances (account_id, amount, every, created_by)
SELECT id, 1, 'week', '' FROM accounts WHERE id <= 10000;
INSERT INTO grants (account_id, id, amount, remaining) SELECT id, id, 1, 1 FROM accounts
 WHERE id <= 10000;
INSERT INTO burns (account_id, up_to, entries_after, balance_before, balance_after, is_plain,
                   grants, amounts)
SELECT id, 2 * id, id, 0, 0, true, '{}', '{}' FROM accounts WHERE id <= 10000;
INSERT INTO objects (account_id, object_id, kind) SELECT 1, 'many' || n, 'response'
  FROM generate_series(1, 20000) n;
"""
LIMIT_ALL = """
INSERT INTO limits (account_id, subject, name, unit, period, amount)
SELECT id, 'key:' || id, called, 'tokens', 'minute', 9
  FROM accounts, unnest('{tokens_per_minute,tokens_per_day}'::text[]) called
 WHERE id <= 50000;
"""
LIMIT_ONE = """
INSERT INTO limits (account_id, subject, name, unit, period, amount)
VALUES (1, 'key:1', 'tokens_per_minute', 'tokens', 'minute', 9);
"""
END_ALL = "DELETE FROM open_holds;"
CLEAN = "VACUUM open_holds;"
OPEN_ONE = """
INSERT INTO open_holds (account_id, request_id, key_id, amount, endpoint)
VALUES (1, 'one', 1, 1, '');
"""
ANALYSE = """
ANALYZE users, accounts, api_keys, open_holds, ledger, waiters, objects, limits, grants, burns;
"""
WAIT = """
INSERT INTO waiters (account_id, wanted, alive_until)
SELECT id, 1, now() + interval '1 hour' FROM accounts LIMIT 20000;
"""
OPEN_MANY = """
INSERT INTO open_holds (account_id, request_id, key_id, amount, endpoint, lease_until)
SELECT id, 'open' || id, id, 1, '', now() + interval '1 minute' FROM accounts LIMIT 20000;
"""
OPEN_MANY_OF_ONE = """
INSERT INTO open_holds (account_id, request_id, key_id, amount, endpoint, lease_until)
SELECT 1, 'of-one' || n, 1, 1, '', now() + interval '1 minute' FROM generate_series(1, 20000) n;
"""
NEW = "new books"
FEW = "limits: "
"""A table of one page may be read as a whole; when it has grown, the sweep renews the plans."""
STATES: Final[dict[str, tuple[str, ...]]] = {
    NEW: (ALONE,),
    "one is open": (BOOKS, LIMIT_ALL, END_ALL, CLEAN, OPEN_ONE, ANALYSE, WAIT),
    "none is open": (END_ALL, CLEAN, ANALYSE),
    "none was open, many are": (OPEN_MANY,),
    "many are open": (ANALYSE,),
    "many of one account are open": (OPEN_MANY_OF_ONE, ANALYSE),
    f"{FEW}none": ("DELETE FROM limits;", "VACUUM limits;", "ANALYZE limits;"),
    f"{FEW}one": (LIMIT_ONE, "ANALYZE limits;"),
    "there was one limit, there are many": ("DELETE FROM limits;", LIMIT_ALL, ANALYSE),
}
READ_ALL = {"FORGET_OBJECTS", "FORGET_WAITERS", "FORGET_TOMBSTONES", "LAPSED", "HELD_BEFORE"}
"""Statements of the sweep, once in a while: what they go through is never large, apart from that of
objects, which runs once an hour, and is planned again when these have outgrown their statistics."""
MODES = ("generic", "custom")
ITEMS = 64


@pytest.fixture(scope="module")
async def plans(cluster: EmbeddedPostgres, template: str) -> AsyncIterator[Plans]:
    """What each statement reads, in each state."""
    dsn = await postgres.clone(cluster, template)
    session = await asyncpg.connect(dsn)
    try:
        calls = {name: await _prepare(session, name) for name in STATEMENTS}
        plans: Plans = defaultdict(dict)
        for state, changes in STATES.items():
            for change in changes:
                await session.execute(change)
            for mode in MODES:
                await session.execute(f"SET plan_cache_mode = force_{mode}_plan")
                for name, call in calls.items():
                    plan = json.loads(await session.fetchval(f"EXPLAIN (FORMAT JSON) {call}"))
                    plans[name][f"{state}, {mode}"] = frozenset(_reads(plan[0]["Plan"]))
        yield plans
    finally:
        await session.close()
        await postgres.drop(cluster, dsn)


async def _prepare(session: asyncpg.Connection[asyncpg.Record], name: str) -> str:
    """Prepare a statement; gives a call of it."""
    await session.execute(f"PREPARE {name} AS {STATEMENTS[name]}")
    types = await session.fetchval(
        "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = $1", name.lower()
    )
    arguments = ", ".join(f"'{_example(type_)}'" for type_ in types)
    return f"EXECUTE {name} ({arguments})" if types else f"EXECUTE {name}"


def _example(type_: str, number: int = 1) -> str:
    """Some value of a type, as a literal."""
    if type_.endswith("[]"):
        items = (_example(type_.removesuffix("[]"), n) for n in range(1, ITEMS + 1))
        return f"{{{','.join(items)}}}"
    examples = {
        "text": f"ended{number}",
        "bytea": f"secret{number}",
        "json": "[]",
        "jsonb": "{}",
        "boolean": "true",
        "date": "2030-01-01",
        "timestamp with time zone": "2030-01-01 00:00Z",
    }
    return examples.get(type_, str(number))


def _reads(node: dict[str, Any]) -> Iterator[str]:
    """Tell by what a plan reads tables: an index with the columns looked up, or all of something.

    A bitmap's heap is read by its index, which stands below it.
    """
    match node["Node Type"]:
        case "Index Scan" | "Index Only Scan" | "Bitmap Index Scan":
            columns = re.findall(r'\("?(\w+)"? [=<>]', node.get("Index Cond", ""))
            name = node["Index Name"]
            yield f"{name}: {', '.join(columns)}" if columns else f"all of {name}"
        case "Tid Scan":
            yield f"place in {node['Relation Name']}"
        case "Seq Scan" | "Tid Range Scan" | "Sample Scan":
            yield f"all of {node['Relation Name']}"
        case _:
            pass
    for below in node.get("Plans", ()):
        yield from _reads(below)


def test_every_statement_has_a_plan_that_is_decided() -> None:
    assert STATEMENTS.keys() == DECIDED.keys()


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_reads_what_is_decided_whatever_was_analysed(plans: Plans, name: str) -> None:
    decided = DECIDED[name]
    large = {
        state: reads - THE_FEW if state.startswith(FEW) else reads
        for state, reads in plans[name].items()
        if not state.startswith(NEW)
    }
    others = {
        state: others
        for state, reads in large.items()
        if (others := reads - frozenset().union(*decided))
    }
    assert others == {}
    for state, reads in large.items():
        at_least = set(decided) - ({A_LIMIT, ITS_LIMITS} if state.startswith(FEW) else set())
        assert all(reads & one for one in at_least)


@pytest.mark.parametrize("name", sorted(STATEMENTS.keys() - READ_ALL))
def test_a_statement_prepared_for_new_books_will_not_read_all_that_they_become(
    plans: Plans, name: str
) -> None:
    assert plans[name][f"{NEW}, generic"].isdisjoint(GROWING)


async def test_the_table_of_open_holds_is_kept_as_it_says(pool: Pool) -> None:
    """Alembic compares no storage parameters, and without them plans and pages go wrong."""
    options = await pool.fetchval(
        "SELECT reloptions FROM pg_class WHERE oid = 'open_holds'::regclass"
    )
    table = inspect(OpenHold).local_table
    assert isinstance(table, Table)
    wanted: dict[str, float] = table.dialect_options["postgresql"]["with"]
    assert {*options} == {f"{name}={value}".lower() for name, value in wanted.items()}
