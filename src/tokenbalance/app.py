"""The composition root: settings in, one ASGI application out. Nothing is wired anywhere else."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI
from starlette.responses import RedirectResponse

import tokenbalance
from tokenbalance.api.docs import mount_docs
from tokenbalance.api.errors import install_error_handlers
from tokenbalance.api.reference import describe_endpoints
from tokenbalance.database.connections import open_pool
from tokenbalance.ledger.book import Book
from tokenbalance.observe.health import health_router
from tokenbalance.observe.logs import configure_logs
from tokenbalance.proxy import PREFIXES, Proxy
from tokenbalance.settings import Settings, SettingsError, load_settings
from tokenbalance.stages.settle import Settler
from tokenbalance.tokens import load
from tokenbalance.upstream import open_upstream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Receive, Scope, Send

    from tokenbalance.database.connections import Pool
    from tokenbalance.upstream import Upstream

logger = logging.getLogger(__name__)

SETTLE_AT_END_S: Final = 10.0
"""How long a stopping process tries to commit the settlements under way."""
SANDBOX_HEADER: Final = (b"x-tokenbalance-upstream", b"sandbox")


class _Mounted:
    """The mounted `/v1`: the proxy, once the lifespan has opened what it needs."""

    proxy: Proxy | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.proxy is None:
            msg = "the application is not started: its lifespan has not run"
            raise RuntimeError(msg)
        await self.proxy(scope, receive, send)


def create_app(settings: Settings, dsn: str) -> FastAPI:
    """Assemble the application.

    Args:
        settings: the process's configuration.
        dsn: the database, migrated.

    """
    mounted = _Mounted()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[dict[str, Pool]]:
        load()
        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(open_pool(dsn, settings.database_pool_size))
            book = Book(pool)
            settler = Settler(book)
            mounted.proxy = Proxy(
                pool=pool,
                book=book,
                settler=settler,
                upstream=await _open_upstream(settings, stack),
                insufficient_status=settings.insufficient_status,
                cancel_on_disconnect=settings.on_disconnect == "cancel",
                own_headers=(SANDBOX_HEADER,) if settings.sandbox else (),
            )
            yield {"pool": pool}
            late = await settler.drain(SETTLE_AT_END_S)
            if late:
                logger.error("%d settlements could not be committed before the end", late)

    app = FastAPI(
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
    app.include_router(health_router)
    app.add_api_route("/", _to_docs, include_in_schema=False)
    mount_docs(app)
    describe_endpoints(app)
    for prefix in PREFIXES:
        app.mount(prefix.decode(), mounted)
    return app


def create_app_from_environment() -> FastAPI:
    """Assemble the application of a worker process; the command that started it set everything.

    Raises:
        SettingsError: a variable has a wrong value, or DATABASE_URL is not set.

    """
    settings = load_settings()
    if settings.database_url is None:
        msg = "DATABASE_URL: must be set for a worker"
        raise SettingsError(msg)
    configure_logs(settings.log_level, settings.log_format)
    return create_app(settings, settings.database_url.get_secret_value())


def _to_docs() -> RedirectResponse:
    """Lead whoever opens the server's bare address to its documentation."""
    return RedirectResponse("/docs", HTTPStatus.FOUND)


async def _open_upstream(settings: Settings, stack: AsyncExitStack) -> Upstream | None:
    if settings.openai_api_key is None:
        return None
    return await stack.enter_async_context(
        open_upstream(
            settings.openai_base_url,
            settings.openai_api_key.get_secret_value(),
            settings.openai_organization,
            settings.openai_project,
        )
    )
