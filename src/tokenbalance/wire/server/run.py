"""Serves until a signal: opens the socket, then runs one server here or several workers.

It must never know what is served: an import string names the application, because a worker may have
to import it anew. Whatever needs an owner (pools, the sweeper) is opened by the application's
lifespan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from tokenbalance.wire.server import console
from tokenbalance.wire.server.descriptors import raise_limit
from tokenbalance.wire.server.lifecycle import SHUTDOWN_S, build_config, serve_here
from tokenbalance.wire.server.listener import listen, url_of
from tokenbalance.wire.server.workers import serve_from_workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from uvicorn._types import ASGIApplication

    from tokenbalance.wire.server.workers import WorkerFiles

APPLICATION = "tokenbalance.app:create_app_from_environment"


def run(  # noqa: PLR0913 - one parameter for each option of `serve`
    app: str | Callable[[], ASGIApplication] = APPLICATION,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    log_config: dict[str, object] | None = None,
    log_level: str = "info",
    forwarded_allow_ips: str | None = None,
    shutdown_s: float = SHUTDOWN_S,
    on_ready: Callable[[str], None] | None = None,
    files: WorkerFiles | None = None,
    load: Callable[[], None] | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code, so that the caller can clean up.

    Requests in flight then have `shutdown_s` to end before they are cut. Once all workers answer
    requests, prints `listening on http://H:N` to stdout and calls `on_ready` with that URL. If the
    server cannot start, prints the reason to stderr on one line and returns 1.

    Args:
        app: a factory without arguments; with several workers, its import string.
        host: the name or address to listen on.
        port: 0 takes any free one.
        workers: number of processes.
        log_config: for `logging.config.dictConfig`; None leaves logging as it is.
        log_level: of uvicorn's loggers.
        forwarded_allow_ips: addresses whose `X-Forwarded-*` headers are trusted; None takes the
            environment's FORWARDED_ALLOW_IPS.
        shutdown_s: seconds for requests in flight after a signal.
        on_ready: called with the URL, once.
        files: where several workers keep what they count together.
        load: loads what several workers may share, before the first of them starts. It must start
            no thread. Not called where workers cannot share memory.

    """
    raise_limit()
    try:
        listener = listen(host, port)
    except (OSError, OverflowError) as error:
        reason = console.one_line(error)
        console.report_failure(f"cannot listen on {url_of(host, port)}: {reason}")
        return 1
    config = build_config(
        app,
        host=host,
        port=port,
        workers=workers,
        log_config=log_config,
        log_level=log_level,
        forwarded_allow_ips=forwarded_allow_ips,
        shutdown_s=shutdown_s,
    )
    with listener:
        url = url_of(host, cast("tuple[str, int]", listener.getsockname())[1])

        def announce() -> None:
            console.announce(url)
            if on_ready is not None:
                on_ready(url)

        if workers > 1:
            return serve_from_workers(config, listener, announce, files, load)
        return serve_here(config, listener, announce)
