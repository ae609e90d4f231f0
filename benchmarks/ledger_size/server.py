"""The Postgres of these measurements: the embedded one, as it ships, in a folder that ends."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.speed.accounting import Tree
from tokenbalance.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@contextmanager
def server(folder: Path, *, durable: bool = True) -> Generator[str]:
    """Run a server on a folder; gives its address.

    Args:
        folder: of the cluster.
        durable: False for seeding, which then writes no whole pages to the log.

    """
    with EmbeddedPostgres.start_or_attach(folder, exclusive=True, durable=durable) as started:
        yield started.dsn


def tree_of(folder: Path) -> Tree:
    """Return the processes of the server that runs on a folder."""
    return Tree(int((folder / "pgdata" / "postmaster.pid").read_text().split()[0]))
