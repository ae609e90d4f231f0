"""Which exceptions a person can fix, and the line for each. Imported when one happens."""

from __future__ import annotations

import asyncpg
from sqlalchemy.exc import DBAPIError

from tokenbalance.alerts.errors import AlertError
from tokenbalance.books.ledger.credits import CreditError
from tokenbalance.books.pricing.catalogue.terms import CatalogueError
from tokenbalance.books.reports import UnknownRequest
from tokenbalance.cli.database import DatabaseError
from tokenbalance.cli.upstream_lists import NoObjects
from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.owners.stock import ObjectError
from tokenbalance.people.budgets import BudgetError
from tokenbalance.people.imports.mistakes import ImportRefused
from tokenbalance.people.key_errors import ApiKeyError
from tokenbalance.people.limits import InvalidLimit
from tokenbalance.people.password_rules import PasswordError
from tokenbalance.people.sign_in_tokens import UnknownToken
from tokenbalance.people.tag_names import InvalidTag
from tokenbalance.people.teams.errors import TeamError
from tokenbalance.people.users import UserError
from tokenbalance.settings import SettingsError

_COMPLETE = (
    AlertError,
    ApiKeyError,
    BudgetError,
    CatalogueError,
    CreditError,
    DatabaseError,
    ImportRefused,
    InvalidTag,
    NoObjects,
    InvalidLimit,
    ObjectError,
    PasswordError,
    SettingsError,
    TeamError,
    UnknownRequest,
    UnknownToken,
    UserError,
)
"""Errors whose message is the whole line."""
_OUTDATED = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)
_REFUSED = (asyncpg.InsufficientPrivilegeError,)
_LOST = (asyncpg.InterfaceError, asyncpg.PostgresError)
"""Of the errors for an unavailable database, those that only a database raises: an OSError may
have any origin."""


def describe(error: Exception) -> str | None:
    """Return the line for an expected failure; None for a bug."""
    if isinstance(error, _COMPLETE) or _is_embedded(error):
        return str(error)
    cause = error.driver_exception if isinstance(error, DBAPIError) else error
    if isinstance(cause, _OUTDATED):
        return "The database schema is out of date: run `tokenbalance migrate`"
    if isinstance(cause, _REFUSED) or (isinstance(cause, _LOST) and isinstance(cause, UNAVAILABLE)):
        return f"Database error: {cause}"
    return None


def _is_embedded(error: Exception) -> bool:
    try:
        from tokenbalance.postgres import EmbeddedPostgresError  # noqa: PLC0415 - see below
    except ImportError:  # not on every platform
        return False
    return isinstance(error, EmbeddedPostgresError)
