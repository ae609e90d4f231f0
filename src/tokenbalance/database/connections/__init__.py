"""Connections to Postgres: the pool of the request path, sessions for everything else.

    pool        one statement, one connection, one deadline
    hosts       how a connection is opened: the servers that a DSN names
    routes      whether a pooler lies between, and what a session may keep
    sessions    SQLAlchemy, for pages, the API, the CLI and migrations
    failures    what the errors of all of them mean

There is one DSN, always read by asyncpg, so a URL means the same everywhere.
"""

from tokenbalance.database.connections.failures import UNAVAILABLE, is_unavailable
from tokenbalance.database.connections.pool import SWEEP_NAME, Pool, open_pool
from tokenbalance.database.connections.routes import NAME, Route, connect, route_to
from tokenbalance.database.connections.sessions import (
    CONNECT_TIMEOUT_S,
    Session,
    Sessions,
    create_engine,
    open_sessions,
)

__all__ = [
    "CONNECT_TIMEOUT_S",
    "NAME",
    "SWEEP_NAME",
    "UNAVAILABLE",
    "Pool",
    "Route",
    "Session",
    "Sessions",
    "connect",
    "create_engine",
    "is_unavailable",
    "open_pool",
    "open_sessions",
    "route_to",
]
