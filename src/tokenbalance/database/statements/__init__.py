"""The SQL of the request path and of corrected prices, written out and named, and nothing else.

This file is its index.

Each statement is one transaction. A statement that may wait for a lock touches one account only: it
locks a hold's row first and the account's row second, so two ends can never wait for each other. A
statement for several accounts never waits for a lock: it skips locked rows and returns what it did.

In a statement for many, the list of items has a LIMIT equal to its length. It removes nothing, but
it makes the planner expect a single item (a tenth of its guess for the array), so each item is
looked up by its key, and one plan serves every length. Without it Postgres either plans again for
every length, which takes longer than the statement itself, or reads a whole table that was small
when the plan was made.

A statement for many locks each hold in a LATERAL of its own that can only use the whole key, and
then changes the row by its `ctid`, which cannot change while the row is locked. In a plain join the
planner may start from the table of open holds: if the last ANALYZE saw no open hold, reading that
whole table looks cheaper than looking up one key, and every item then reads every open hold.

An end in the ledger is found by its request alone, and its account is compared as `account_id + 0`,
which no index serves. While most accounts have a single row, the index of accounts looks as cheap,
and an account with a million rows would have them all read.
"""

from tokenbalance.database.statements.books import FUNDS, LITTERED, OUTGROWN, WHICH_BOOKS
from tokenbalance.database.statements.callers import (
    ENDED_KEYS,
    FIND_CALLERS,
    FUNDS_OF_CALLER,
    REFUSED_KEY,
    TOUCH_KEYS,
)
from tokenbalance.database.statements.charges import (
    CORRECT,
    ENDED,
    EXPIRE,
    EXPIRE_RESTORED,
    SETTLE,
    SETTLE_FULL,
    SETTLE_LIMITED,
    SETTLE_MANY,
    SETTLE_MANY_FULL,
    SETTLE_MANY_LIMITED,
    SETTLE_MANY_OF_ONE,
    SETTLE_MANY_OF_ONE_FULL,
    SETTLE_MANY_OF_ONE_LIMITED,
    SETTLE_RESTORED,
)
from tokenbalance.database.statements.forgotten import FORGOTTEN, LOCK_ACCOUNT, RESTORE
from tokenbalance.database.statements.grants import (
    BURN_OF_ENTRY,
    DUE_ACCOUNTS,
    DUE_ALLOWANCES,
    ENTER_BY_ITSELF,
    ENTRIES_AFTER,
    ENTRIES_OF_REQUEST,
    FORGET_BURN,
    GRANTS,
    HELD_BEFORE,
    LAST_BURN,
    LAST_ENTRY,
    LATE_CHARGES,
    LOCK_DUE_PURSE,
    LOCK_PURSE,
    MOVE_ALLOWANCE,
    SAVE_BURN,
    SAVE_GRANTS,
    SET_NEXT_EXPIRY,
)
from tokenbalance.database.statements.leases import KNOWN, LAPSED, RENEW
from tokenbalance.database.statements.limits import ENTER_WINDOW, LIMITS, OPEN_END_USER
from tokenbalance.database.statements.object_lists import (
    DESCRIBE_OBJECT,
    NEWEST_OBJECTS,
    OLDEST_OBJECTS,
    PLACE_OF_OBJECT,
)
from tokenbalance.database.statements.objects import (
    DELETE_EXPIRED_OBJECTS,
    DELETE_OBJECT,
    FIND_OBJECTS,
    FORGET_OBJECTS,
    OCCUPY_OBJECT,
    RECORD_OBJECTS,
    RESTORE_OBJECT,
    VACATE_OBJECT,
)
from tokenbalance.database.statements.placements import (
    PLACE,
    PLACE_LIMITED,
    PLACE_MANY,
    PLACE_MANY_LIMITED,
    PLACE_MANY_OF_ONE,
    PLACE_MANY_OF_ONE_LIMITED,
)
from tokenbalance.database.statements.refusals import COUNT_REFUSALS
from tokenbalance.database.statements.rerates import (
    CHARGED,
    NEWEST_RATES,
    RERATE,
    RERATED_ACCOUNTS,
)
from tokenbalance.database.statements.storage import CHARGE_STORAGE, STORING
from tokenbalance.database.statements.voids import FORGET_TOMBSTONES, LEAVE_TOMBSTONE, VOID
from tokenbalance.database.statements.waiters import (
    ENTER,
    FORGET_WAITERS,
    LEAVE,
    PROMISING,
    PROMISING_LIMITED,
    RENEW_WAITERS,
    WAITED_FOR,
    WAITING,
)

__all__ = [
    "BURN_OF_ENTRY",
    "CHARGED",
    "CHARGE_STORAGE",
    "CORRECT",
    "COUNT_REFUSALS",
    "DELETE_EXPIRED_OBJECTS",
    "DELETE_OBJECT",
    "DESCRIBE_OBJECT",
    "DUE_ACCOUNTS",
    "DUE_ALLOWANCES",
    "ENDED",
    "ENDED_KEYS",
    "ENTER",
    "ENTER_BY_ITSELF",
    "ENTER_WINDOW",
    "ENTRIES_AFTER",
    "ENTRIES_OF_REQUEST",
    "EXPIRE",
    "EXPIRE_RESTORED",
    "FIND_CALLERS",
    "FIND_OBJECTS",
    "FORGET_BURN",
    "FORGET_OBJECTS",
    "FORGET_TOMBSTONES",
    "FORGET_WAITERS",
    "FORGOTTEN",
    "FUNDS",
    "FUNDS_OF_CALLER",
    "GRANTS",
    "HELD_BEFORE",
    "KNOWN",
    "LAPSED",
    "LAST_BURN",
    "LAST_ENTRY",
    "LATE_CHARGES",
    "LEAVE",
    "LEAVE_TOMBSTONE",
    "LIMITS",
    "LITTERED",
    "LOCK_ACCOUNT",
    "LOCK_DUE_PURSE",
    "LOCK_PURSE",
    "MOVE_ALLOWANCE",
    "NEWEST_OBJECTS",
    "NEWEST_RATES",
    "OCCUPY_OBJECT",
    "OLDEST_OBJECTS",
    "OPEN_END_USER",
    "OUTGROWN",
    "PLACE",
    "PLACE_LIMITED",
    "PLACE_MANY",
    "PLACE_MANY_LIMITED",
    "PLACE_MANY_OF_ONE",
    "PLACE_MANY_OF_ONE_LIMITED",
    "PLACE_OF_OBJECT",
    "PROMISING",
    "PROMISING_LIMITED",
    "RECORD_OBJECTS",
    "REFUSED_KEY",
    "RENEW",
    "RENEW_WAITERS",
    "RERATE",
    "RERATED_ACCOUNTS",
    "RESTORE",
    "RESTORE_OBJECT",
    "SAVE_BURN",
    "SAVE_GRANTS",
    "SETTLE",
    "SETTLE_FULL",
    "SETTLE_LIMITED",
    "SETTLE_MANY",
    "SETTLE_MANY_FULL",
    "SETTLE_MANY_LIMITED",
    "SETTLE_MANY_OF_ONE",
    "SETTLE_MANY_OF_ONE_FULL",
    "SETTLE_MANY_OF_ONE_LIMITED",
    "SETTLE_RESTORED",
    "SET_NEXT_EXPIRY",
    "STORING",
    "TOUCH_KEYS",
    "VACATE_OBJECT",
    "VOID",
    "WAITED_FOR",
    "WAITING",
    "WHICH_BOOKS",
]
