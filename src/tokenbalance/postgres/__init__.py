"""The embedded Postgres, for machines without one: the programs of a wheel under our supervision.

supervisor      the interface: start or attach, DSN, stop
ownership       who may start and stop: two kernel locks
cluster         initdb, settings, start, readiness, stop
launcher        the exec step: user, death signal
binaries        where the programs are
account, socket_folder, remains, connection     one question each
errors          the tree of exceptions
"""

from tokenbalance.postgres.cluster import has_cluster
from tokenbalance.postgres.errors import (
    BinariesNotFound,
    DataFolderInUse,
    DataFolderUnusable,
    EmbeddedPostgresError,
    ServerNotStarted,
)
from tokenbalance.postgres.supervisor import EmbeddedPostgres

__all__ = [
    "BinariesNotFound",
    "DataFolderInUse",
    "DataFolderUnusable",
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "ServerNotStarted",
    "has_cluster",
]
