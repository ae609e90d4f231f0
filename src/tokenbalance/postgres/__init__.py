"""A Postgres of our own for machines without one: the wheel's programs under our supervision.

supervisor      what the product uses: start or attach, address, stop
ownership       who may start and stop: two kernel locks
cluster         initdb, settings, start, readiness, stop
launcher        the exec step: user, death signal
binaries        where the programs are
account, socket_folder, remains, connection     one question each
errors          the exception tree
"""

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
]
