"""The product as it ships: `tokenbalance serve` with its own durable Postgres, in an empty folder.

The server's processes are moved to the subject's cores as soon as it listens, Postgres to the
others; what they start later stays there.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.compare.builds import Build, verify_books
from benchmarks.processes import children_of, command_of
from benchmarks.replicas import Replica
from benchmarks.speed.accounting import Tree
from benchmarks.speed.accounts import OwnVerdict, Proof, create_accounts
from benchmarks.speed.machine import cores_for, free_port, move_to
from benchmarks.speed.subjects import Subject, Unavailable
from tokenbalance.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from benchmarks.speed.subjects import Place

NAME = "tokenbalance"
BASE = "before"
"""The build to compare with."""
TWO_WORKERS = "tokenbalance, 2 workers"


@asynccontextmanager
async def serve(place: Place) -> AsyncGenerator[Subject]:
    """Start it with one worker."""
    async with _serve(place, NAME, 1, place.python) as subject:
        yield subject


@asynccontextmanager
async def serve_base(place: Place) -> AsyncGenerator[Subject]:
    """Start the build to compare with, in the same way."""
    if place.base is None:
        msg = "no --base was given"
        raise Unavailable(msg)
    async with _serve(place, BASE, 1, place.base) as subject:
        build = Build(BASE, place.base)
        yield replace(subject, proof=OwnVerdict(lambda: verify_books(build, place.folder)))


@asynccontextmanager
async def serve_with_two_workers(place: Place) -> AsyncGenerator[Subject]:
    """Start it with two workers, on two cores."""
    async with _serve(place, TWO_WORKERS, 2, place.python) as subject:
        yield subject


@asynccontextmanager
async def serve_build(place: Place, name: str, python: str) -> AsyncGenerator[Subject]:
    """Start the product that is installed for another interpreter, with one worker."""
    async with _serve(place, name, 1, python) as subject:
        # Only the build itself knows the schema of its books.
        yield replace(subject, proof=None)


@asynccontextmanager
async def _serve(place: Place, name: str, workers: int, python: str) -> AsyncGenerator[Subject]:
    settings = {
        "OPENAI_BASE_URL": place.upstream_url,
        "OPENAI_API_KEY": "sk-upstream",
        # Streams that are left idle never end by themselves.
        "TOKENBALANCE_SHUTDOWN_S": "2",
        # Otherwise each process has other collisions in its dictionaries, and another speed.
        "PYTHONHASHSEED": "0",
    }
    if place.rate_card is not None:
        settings["TOKENBALANCE_RATE_CARD"] = str(place.rate_card)
    replica = Replica(place.folder, settings, workers, free_port(), python=python)
    shares = cores_for(workers)
    try:
        try:
            await replica.start()
        except TimeoutError:
            msg = f"it did not start; its log is {replica.log}"
            raise Unavailable(msg) from None
        pid = replica.processes()[0]
        postgres = Tree(_postmaster_of(pid))
        tree = Tree(pid, without=postgres.root)
        for cores, each in ((shares.subject, tree), (shares.rest, postgres)):
            # Twice: what was moved first starts its children where it is itself.
            move_to(cores, each.pids())
            move_to(cores, each.pids())
        dsn = _dsn_of(place.folder / "data")
        yield Subject(
            name,
            replica.port,
            tree,
            await create_accounts(dsn, place.folder),
            postgres,
            Proof(dsn),
        )
    finally:
        _ = await replica.stop()


def _postmaster_of(pid: int) -> int:
    return next(child for child in children_of(pid) if "postgres" in command_of(child).split()[0])


def _dsn_of(data_folder: Path) -> str:
    """Ask where the server is that the product runs there."""
    with EmbeddedPostgres.start_or_attach(data_folder) as server:
        return server.dsn
