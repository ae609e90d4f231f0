"""Which exceptions are a person's to fix, and the line that says so. Imported when one happens."""

from __future__ import annotations

import asyncpg
from sqlalchemy.exc import DBAPIError

from tokenbalance.books.ledger.credits import CreditError
from tokenbalance.cli.database import DatabaseError
from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.people.keys import ApiKeyError
from tokenbalance.people.passwords import PasswordError
from tokenbalance.people.users import UserError
from tokenbalance.settings import SettingsError

_COMPLETE = (ApiKeyError, CreditError, DatabaseError, PasswordError, SettingsError, UserError)
"""Errors whose message is the line."""
_OUTDATED = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)
_REFUSED = (asyncpg.InsufficientPrivilegeError,)
_LOST = (asyncpg.InterfaceError, asyncpg.PostgresError)
"""Of what is unavailable, that which only a database can say; an OSError may be anybody's."""


def describe(error: Exception) -> str | None:
    """Return the line for an expected failure; None for one that is ours to debug."""
    if isinstance(error, _COMPLETE) or _is_embedded(error):
        return str(error)
    cause = error.driver_exception if isinstance(error, DBAPIError) else error
    if isinstance(cause, _OUTDATED):
        return "the database has not the newest schema: run `tokenbalance migrate`"
    if isinstance(cause, _REFUSED) or (isinstance(cause, _LOST) and isinstance(cause, UNAVAILABLE)):
        return f"the database refused: {cause}"
    return None


def _is_embedded(error: Exception) -> bool:
    try:
        from tokenbalance.postgres import EmbeddedPostgresError  # noqa: PLC0415
    except ImportError:  # a platform that it does not run on
        return False
    return isinstance(error, EmbeddedPostgresError)
