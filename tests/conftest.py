"""Fixtures of every test: a Postgres a run, a database a test, the product on a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import openai
import pytest

from tests.support import postgres
from tests.support.databases import Databases
from tests.support.pooler import pooling
from tests.support.product import RestingRollUp, serving
from tests.support.tracing import trace_outside_of_greenlets
from tests.support.upstream import ScriptedUpstream
from tokenbalance.database.connections import Pool, open_pool, open_sessions
from tokenbalance.database.migrate import migrate
from tokenbalance.wire.server.protocol import HttpProtocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.support.books import Holder
    from tokenbalance.database.connections import Sessions
    from tokenbalance.postgres import EmbeddedPostgres


CONNECTIONS = "tokenbalance.database.connections"
PATIENCE_S = 30.0
"""Of a test, with a deadline of the product that is not its subject."""


@pytest.fixture(scope="session", autouse=True)
def _cheap_coverage() -> Iterator[None]:
    yield from trace_outside_of_greenlets()


@pytest.fixture(scope="session", autouse=True)
def _no_certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Trust nobody: reading the machine's certificates takes every HTTP client 40 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSL_CERT_FILE", raising=False)
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("certificates")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _nothing_to_sum_up() -> Iterator[None]:
    """Let products rest who would sum up what is minutes old: each compiles its statements anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tokenbalance.app.RollUp", RestingRollUp)
        yield


@pytest.fixture(autouse=True)
def _patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lift the product's deadlines where they are not the subject: a machine may be busy."""
    if request.node.get_closest_marker("product_deadlines"):
        return
    for method in (Pool.fetch, Pool.fetchrow, Pool.fetchval, Pool.execute):
        defaults = method.__kwdefaults__
        assert defaults
        monkeypatch.setitem(defaults, "deadline_s", PATIENCE_S)
    monkeypatch.setattr(f"{CONNECTIONS}.sessions.CONNECT_TIMEOUT_S", PATIENCE_S)
    monkeypatch.setattr(f"{CONNECTIONS}.pool.STATEMENT_TIMEOUT_S", PATIENCE_S)
    monkeypatch.setattr(HttpProtocol, "head_timeout_s", PATIENCE_S)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """The run's Postgres."""
    cluster = postgres.start_cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
async def template(cluster: EmbeddedPostgres) -> str:
    """The name of the migrated database that every test's own is a copy of."""
    return await postgres.make_template(cluster, migrate)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pooler", help="put this PgBouncer between the product and Postgres")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out, behind a pooler, what is about sessions with the server itself."""
    if item.config.getoption("--pooler") and item.get_closest_marker("direct_sessions"):
        pytest.skip("its subject is a session with the server itself")


@pytest.fixture(scope="session")
def through(
    cluster: EmbeddedPostgres, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], str]]:
    """What the DSN of a test becomes: with `--pooler`, one that leads through it."""
    program = request.config.getoption("--pooler")
    if program is None:
        yield lambda dsn: dsn
        return
    with pooling(program, cluster) as through:
        yield through


@pytest.fixture(scope="session")
def databases(cluster: EmbeddedPostgres, template: str) -> Databases:
    """The databases that tests have one after the other."""
    return Databases(cluster, template)


@pytest.fixture
async def dsn(databases: Databases, through: Callable[[str], str]) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    dsn = await databases.take()
    yield through(dsn)
    await databases.give_back(dsn)


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    """Connections as the request path has them."""
    async with open_pool(dsn, size=20) as pool:
        yield pool


@pytest.fixture
async def sessions(dsn: str) -> AsyncIterator[Sessions]:
    """Sessions as the management side has them."""
    async with open_sessions(dsn) as sessions:
        yield sessions


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """The only fake: what stands in for api.openai.com."""
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
async def product(dsn: str, upstream: ScriptedUpstream) -> AsyncIterator[str]:
    """The product, served on a socket; its URL without a path."""
    async with serving(dsn, upstream.base_url) as url:
        yield url


@pytest.fixture
async def http(product: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A plain HTTP client of the product."""
    async with httpx2.AsyncClient(base_url=product, timeout=30) as client:
        yield client


@pytest.fixture
async def sdk(product: str) -> AsyncIterator[Callable[[Holder], openai.AsyncOpenAI]]:
    """Makes official SDK clients for holders; they never retry."""
    async with httpx2.AsyncClient(timeout=30) as client:
        yield lambda holder: openai.AsyncOpenAI(
            api_key=holder.secret, base_url=f"{product}/v1", max_retries=0, http_client=client
        )
