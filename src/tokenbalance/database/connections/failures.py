"""What an error of a statement, a session or a pool means.

SESSION_OVER    the session must not be used again, nor any session opened before the error
UNAVAILABLE     the database cannot do it now; the statement itself may be right
anything else   the statement is wrong: a mistake of ours
"""

from __future__ import annotations

from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionInTime

SESSION_OVER: Final = (
    OSError,  # refused, reset, TLS, and TimeoutError
    asyncpg.InterfaceError,  # the pool or the connection is closed or in a wrong state
    asyncpg.InternalClientError,  # lost between two steps of the driver; no writable host
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,  # starting up, shutting down, recovering
    asyncpg.DatabaseDroppedError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,  # unlike a statement timeout, it ends the session
    asyncpg.ReadOnlySQLTransactionError,  # a standby, or the former primary after a failover
    asyncpg.InvalidSQLStatementNameError,  # a pooler gave us a session without our statements,
    asyncpg.DuplicatePreparedStatementError,  # or with those of another client
    asyncpg.UnknownPostgresError,  # a code of a pooler or a provider, not of Postgres
)
"""After one of these, neither this session nor any opened before it is used again."""

UNAVAILABLE: Final = (
    *SESSION_OVER,
    asyncpg.OperatorInterventionError,  # cancelled, by statement_timeout too
    asyncpg.InsufficientResourcesError,  # too many connections, disk full, out of memory
    asyncpg.TransactionRollbackError,  # deadlock, serialization
    asyncpg.ObjectNotInPrerequisiteStateError,  # lock_timeout; the database accepts no connections
    asyncpg.PostgresSystemError,  # I/O error
    asyncpg.InternalServerError,  # corrupted data or index; a pooler without a server
    asyncpg.InvalidAuthorizationSpecificationError,  # the password is being changed
    asyncpg.InvalidCatalogNameError,  # no such database, for example during a restore
    asyncpg.UndefinedTableError,  # not migrated yet
    asyncpg.UndefinedColumnError,  # the same
    asyncpg.InvalidCachedStatementError,  # migrated just now
)
"""Errors that mean the database cannot do it now, not that the statement is wrong."""


def is_unavailable(error: BaseException) -> bool:
    """Whether an error of a statement, a session or a pool is one of `UNAVAILABLE`."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        # SQLAlchemy wraps asyncpg's error in a class of its own.
        return isinstance(error.orig.__cause__, UNAVAILABLE)
    return isinstance(error, (*UNAVAILABLE, NoConnectionInTime))
