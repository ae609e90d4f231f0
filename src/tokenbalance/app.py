"""The composition root: settings in, one ASGI application out. Nothing is wired anywhere else."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import os
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import tokenbalance
from tokenbalance.alerts.letters import MailServer
from tokenbalance.alerts.service import Alerts
from tokenbalance.books.grants.due import DueGrants
from tokenbalance.books.holds.leases import Leases
from tokenbalance.books.holds.settler import Settler
from tokenbalance.books.holds.sweep import Sweep
from tokenbalance.books.holds.waiting import Waiters
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.storage import StorageCharges
from tokenbalance.books.reports.rollup import RollUp
from tokenbalance.database.connections import (
    SWEEP_NAME,
    UNAVAILABLE,
    open_pool,
    open_sessions,
)
from tokenbalance.openai import SURFACE, Surface
from tokenbalance.openai.tokens import prepare, shipped_models
from tokenbalance.openai.unknown import unknown_operation
from tokenbalance.owners.journal import ObjectJournal
from tokenbalance.owners.registry import Owners
from tokenbalance.owners.upkeep import Upkeep
from tokenbalance.people.callers import Callers
from tokenbalance.people.password_rules import PasswordRules
from tokenbalance.people.refusals import RefusalCounts
from tokenbalance.proxy.admission import Admissions
from tokenbalance.proxy.asked import PREFIXES
from tokenbalance.proxy.bearers import Bearers
from tokenbalance.proxy.forms import Forms
from tokenbalance.proxy.free_rate import FreeRate
from tokenbalance.proxy.holding import Holding
from tokenbalance.proxy.limits.admission import LimitedAdmissions
from tokenbalance.proxy.limits.gate import Gate
from tokenbalance.proxy.limits.storms import Storms
from tokenbalance.proxy.model_lists import ModelLists
from tokenbalance.proxy.ownership import Ownership
from tokenbalance.proxy.pipeline import Proxy
from tokenbalance.proxy.reading import Reading
from tokenbalance.proxy.room import Room
from tokenbalance.proxy.stored import StoredContext
from tokenbalance.proxy.turns import Turns
from tokenbalance.settings import Settings, SettingsError, load_settings
from tokenbalance.telemetry.health import health_router
from tokenbalance.telemetry.logs import configure_logs
from tokenbalance.telemetry.metrics import Metrics, Watched, metrics_router
from tokenbalance.telemetry.metrics_access import MetricsAccess
from tokenbalance.telemetry.totals import BooksWatch
from tokenbalance.web.api.errors import install_error_handlers
from tokenbalance.web.api.routes import include_management
from tokenbalance.web.application import Application
from tokenbalance.web.context import STATEMENT_TIMEOUT_S, Management
from tokenbalance.web.docs.pages import mount_docs
from tokenbalance.web.docs.reference import describe_endpoints
from tokenbalance.web.panel.mount import mount_panel
from tokenbalance.wire.client.cors import CrossOrigin
from tokenbalance.wire.client.spool import Spools
from tokenbalance.wire.passing_headers import PassingHeaders
from tokenbalance.wire.upstream import open_upstream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Coroutine

    from fastapi import FastAPI
    from pydantic import SecretStr
    from starlette.types import Receive, Scope, Send

    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Charge, Hold, Usage
    from tokenbalance.wire.server.direct import DirectTurn
    from tokenbalance.wire.upstream import Upstream

logger = logging.getLogger(__name__)

SETTLE_AT_END_S: Final = 2.0
"""How long a process that shuts down tries to commit pending ends of holds."""
SANDBOX_HEADER: Final = (b"x-tokenbalance-upstream", b"sandbox")
SANDBOX_KEY: Final = "sandbox"
"""The upstream key that `serve --sandbox` sets: whoever has another one has another upstream."""


class _Mounted:
    """The mounted `/v1`: the proxy, once the lifespan has opened what it needs."""

    proxy: Proxy | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._started()(scope, receive, send)

    def direct(self, turn: DirectTurn) -> Awaitable[None]:
        """Respond to a request of our own server, without ASGI in between."""
        return self._started().direct(turn)

    def _started(self) -> Proxy:
        if self.proxy is None:
            msg = "the application is not started: its lifespan has not run"
            raise RuntimeError(msg)
        return self.proxy


def create_app(settings: Settings, dsn: str, surface: Surface = SURFACE) -> FastAPI:
    """Assemble the application.

    Args:
        settings: the process's configuration.
        dsn: the database, migrated.
        surface: the operations that are open.

    """
    mounted = _Mounted()
    if settings.unknown_endpoints == "meter":
        surface = Surface(surface.operations, unknown_operation(settings.unknown_hold))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[dict[str, object]]:
        prepare()
        _ = shipped_models()
        async with AsyncExitStack() as stack:
            mounted.proxy = proxy = await _open_proxy(settings, dsn, surface, stack)
            management = Management(
                sessions=await stack.enter_async_context(open_sessions(dsn, STATEMENT_TIMEOUT_S)),
                pool=proxy.pool,
                signup_open=settings.signup == "open",
                password_rules=PasswordRules(settings.password_chars_min),
                key_limits=settings.key_limits,
                rate_card=settings.rates,
                upstream=settings.upstream_traits,
                surface=surface,
            )
            alerts = Alerts(
                await stack.enter_async_context(open_sessions(dsn)),
                to_private=settings.webhooks_to_private,
                mail=_mail_server(settings),
                operators=settings.alert_emails,
            )
            proxy.wording.alarms.on_sound = alerts.operator.tell
            stack.push_async_callback(alerts.close)
            for work in (alerts.send(), alerts.look_ahead(settings.upstream_traits)):
                _ = await stack.enter_async_context(_running(work))
            roll_up = RollUp(await stack.enter_async_context(open_sessions(dsn)))
            _ = await stack.enter_async_context(_running(roll_up.run()))
            yield {
                "pool": proxy.pool,
                "leases": proxy.leases,
                "owners": proxy.ownership.owners,
                "metrics": proxy.metrics,
                "metrics_access": MetricsAccess(_revealed(settings.metrics_token)),
                "management": management,
            }
            await _end_holds(proxy)

    app = Application(
        title="tokenbalance",
        version=tokenbalance.__version__,
        summary="OpenAI access handed out by prepaid balance.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    install_error_handlers(app)
    include_management(app)
    app.include_router(health_router)
    app.include_router(metrics_router)
    mount_panel(app)
    mount_docs(app)
    describe_endpoints(app, surface)
    for prefix in PREFIXES:
        app.mount_in_front(prefix.decode(), mounted)
    return app


def create_app_from_environment() -> FastAPI:
    """Assemble the application of a worker process; the command that started it set everything.

    Any other ASGI server can call it as well (`docs/deploy.md`).

    Raises:
        SettingsError: a variable has a wrong value, the rate card cannot be used, DATABASE_URL is
            not set, or the sandbox is wanted and nobody has started it.

    """
    settings = load_settings()
    _ = settings.rates
    _require_sandbox(settings)
    if settings.database_url is None:
        msg = "DATABASE_URL: must be set for a worker"
        raise SettingsError(msg)
    configure_logs(settings.log_level, settings.log_format)
    app = create_app(settings, settings.database_url.get_secret_value())
    # What has been imported and assembled stays: the garbage collector need not walk it again and
    # again. Requests leave hardly any cycles, so it can run rarely.
    _ = gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    return app


def _require_sandbox(settings: Settings) -> None:
    """Refuse to call responses the sandbox's where it is not the upstream."""
    key = _revealed(settings.openai_api_key)
    if settings.sandbox and key != SANDBOX_KEY:
        msg = "TOKENBALANCE_SANDBOX: is set by `tokenbalance serve --sandbox`, which starts it"
        raise SettingsError(msg)


async def _open_proxy(
    settings: Settings, dsn: str, surface: Surface, stack: AsyncExitStack
) -> Proxy:
    """Open what the request path needs; the stack closes it in reverse order."""
    pool = await stack.enter_async_context(open_pool(dsn, settings.database_pool_size))
    # A pool of its own, so that leases are renewed however busy the request path is.
    sweep_pool = await stack.enter_async_context(open_pool(dsn, 1, SWEEP_NAME))
    book = Book(pool, settings.lease_s, batch_max=settings.batch_max)
    hop = await _hop_of(book)
    passing = PassingHeaders(settings.request_headers, settings.response_headers)
    leases = Leases(settings.data_dir / "journal")
    stack.callback(leases.close_journal)
    objects = ObjectJournal(settings.data_dir / "journal")
    stack.callback(objects.close)
    with suppress(*UNAVAILABLE):
        await leases.open_journal(book)
    body_bytes_max = settings.body_max_mb * 1024 * 1024
    forms = Forms(_open_spools(settings, stack), settings.upload_max_mb * 1024 * 1024)
    waiters = Waiters(pool, book)
    stack.push_async_callback(waiters.close)
    settler = Settler(book, leases)
    watched = Watched(leases, settler, waiters, objects)
    metrics = await _open_metrics(watched, pool, surface, stack)
    sweep_book = Book(sweep_pool, settings.lease_s)
    callers = Callers(pool, settings.batch_max)
    bearers = Bearers(callers, pool)

    def charged(hold: Hold, usage: Usage, charge: Charge, expired: bool) -> None:  # noqa: FBT001 - the signature of `Book.on_charge`
        metrics.charged(hold, usage, charge, expired)
        callers.remembered.note(hold.account_id, charge)

    book.on_charge = sweep_book.on_charge = charged
    refused = RefusalCounts(pool)
    stack.push_async_callback(refused.flush)
    _ = await stack.enter_async_context(_running(refused.run()))
    sweep = Sweep(sweep_pool, sweep_book, leases, settings.sweep_s)
    _ = await stack.enter_async_context(_running(sweep.run()))
    _ = await stack.enter_async_context(_running(DueGrants(sweep_pool, settings.sweep_s).run()))
    owners = await _open_owners(settings, pool, objects, stack)
    storage = StorageCharges(pool, settings.rates)
    _ = await stack.enter_async_context(_running(storage.run()))
    upstream = await _open_upstream(settings, hop, stack)
    admissions = Admissions(book, waiters, settings.hold_wait_s, settings.insufficient_status)
    turns = Turns(owners, settings.hold_wait_s)
    stack.push_async_callback(turns.close)
    free_rate = FreeRate(settings.free_per_minute)
    storms = Storms()
    gate = Gate(bearers, storms)
    limited = LimitedAdmissions(admissions, storms)
    return Proxy(
        pool=pool,
        bearers=bearers,
        reading=Reading(bearers, settings.upstream_traits, settings.rates, body_bytes_max, forms),
        leases=leases,
        admissions=admissions,
        settler=settler,
        metrics=metrics,
        ownership=Ownership(owners),
        turns=turns,
        gate=gate,
        holding=Holding(bearers, admissions, limited, gate),
        stored=StoredContext(upstream, bearers, admissions, free_rate, gate),
        refused=refused,
        upstream=upstream,
        surface=surface,
        cancel_on_disconnect=settings.on_disconnect == "cancel",
        own_headers=(SANDBOX_HEADER,) if settings.sandbox else (),
        passing=passing,
        cross_origin=CrossOrigin(settings.cors_origins, passing.may_reach_upstream),
        room=Room(settings.parallel_max, body_bytes_max, forms.bytes_max),
        free_rate=free_rate,
        models=ModelLists(settings.models_copy_s, settings.rates),
        hop=hop,
    )


async def _open_owners(
    settings: Settings, pool: Pool, journal: ObjectJournal, stack: AsyncExitStack
) -> Owners:
    """Open the table of objects and its journal, and begin their upkeep."""
    upkeep = Upkeep(pool, journal, settings.sweep_s)
    with suppress(*UNAVAILABLE):
        await upkeep.open_journal()
    _ = await stack.enter_async_context(_running(upkeep.run()))
    stack.push_async_callback(upkeep.finish)
    return Owners(pool, journal, batch_max=settings.batch_max)


def _open_spools(settings: Settings, stack: AsyncExitStack) -> Spools:
    spools = Spools(settings.data_dir / "spool")
    stack.callback(spools.close)
    spools.open()
    return spools


async def _hop_of(book: Book) -> bytes:
    """The mark of this installation, the same for all its workers and replicas.

    A digest, since the upstream sees it and must not learn the name of the books. While the
    database is unavailable, a process uses a random mark and recognises its own requests only.
    """
    name = os.urandom(16).hex()
    with suppress(*UNAVAILABLE):
        name = await book.name()
    return hashlib.sha256(f"tokenbalance: hop {name}".encode()).hexdigest()[:32].encode()


async def _open_metrics(
    watched: Watched, pool: Pool, surface: Surface, stack: AsyncExitStack
) -> Metrics:
    """Start counting, and publishing the gauges to other workers."""
    books = BooksWatch(pool)
    stack.push_async_callback(books.close)
    metrics = Metrics(watched, books, surface)
    _ = await stack.enter_async_context(_running(metrics.run()))
    return metrics


async def _end_holds(proxy: Proxy) -> None:
    """Give the last requests time to end their holds; the rest is in the journal."""
    late = await proxy.settler.drain(SETTLE_AT_END_S)
    if late:
        logger.error(
            "%d settlements or voids could not be committed and are left in the journal", late
        )


@asynccontextmanager
async def _running(work: Coroutine[object, object, None]) -> AsyncGenerator[None]:
    """Run work in parallel; cancelled at the end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        _ = task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _open_upstream(settings: Settings, hop: bytes, stack: AsyncExitStack) -> Upstream | None:
    address = settings.upstream_address(hop)
    if address is None:
        return None
    return await stack.enter_async_context(open_upstream(address))


def _mail_server(settings: Settings) -> MailServer | None:
    url = _revealed(settings.smtp_url)
    return None if url is None else MailServer(url, settings.mail_from or "")


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
