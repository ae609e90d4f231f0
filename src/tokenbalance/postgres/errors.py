"""Everything that can go wrong with the embedded Postgres, in one line each.

    EmbeddedPostgresError
    |-- BinariesNotFound     no Postgres programs, too old, or out of reach
    |-- DataFolderInUse      another process owns the folder and does not share its server
    |-- DataFolderUnusable   wrong version, wrong permissions, not a cluster
    `-- ServerNotStarted     the programs ran and failed; the message ends with their output

A message is complete: commands print it unchanged, without a traceback.
"""

from __future__ import annotations


class EmbeddedPostgresError(Exception):
    """The embedded Postgres cannot be used."""


class BinariesNotFound(EmbeddedPostgresError):
    """There are no Postgres programs that this process can run."""


class DataFolderInUse(EmbeddedPostgresError):
    """Another process owns the data folder."""


class DataFolderUnusable(EmbeddedPostgresError):
    """The data folder cannot be read or written, or contains something else."""


class ServerNotStarted(EmbeddedPostgresError):
    """initdb or the server failed, or did not become ready in time."""
