"""`tokenbalance serve`: prepares the database and the sandbox, then runs the server.

What is resolved here reaches the application through the environment, because each worker
process reads its own settings.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from tokenbalance.cli.database import migrate_to_head, open_database, require_schema
from tokenbalance.cli.first_superuser import create_superuser_of
from tokenbalance.cli.migrate import migration_dsn
from tokenbalance.cli.output import print_aside
from tokenbalance.settings import Settings, SettingsError, load_settings
from tokenbalance.wire.server.own_address import is_own_address


def serve(
    *,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on; default: HOST.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Port; default: PORT. 0: any free port."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, max=256, help="Worker processes; default: WEB_CONCURRENCY."
        ),
    ] = None,
    sandbox: Annotated[
        bool,
        typer.Option(
            "--sandbox", help="Use the built-in fake OpenAI as the upstream; needs no key."
        ),
    ] = False,
    no_migrate: Annotated[
        bool, typer.Option("--no-migrate", help="Do not migrate the database at DATABASE_URL.")
    ] = False,
) -> None:
    """Serve the proxy, with DATABASE_URL or an embedded Postgres."""
    given = {"host": host, "port": port, "web_concurrency": workers}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    # A mistake in the card is told before a database is started or migrated.
    _ = settings.rates
    if not sandbox:
        _refuse_own_address(settings)
    with open_database(settings, exclusive=True) as dsn:
        if settings.database_url is not None:
            _prepare(settings, dsn, migrate=not no_migrate)
        create_superuser_of(settings, dsn)
        _set_for_workers(DATABASE_URL=dsn)
        with _upstream(sandbox=sandbox):
            exit_code = _run(settings, sandbox=sandbox)
    raise typer.Exit(exit_code)


def _refuse_own_address(settings: Settings) -> None:
    """Refuse to start a server that is its own upstream, as far as that can be seen.

    Raises:
        SettingsError: requests would come back to this server.

    """
    parts = urlsplit(settings.openai_base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if port == settings.port and is_own_address(parts.hostname or "", settings.host):
        msg = f"OPENAI_BASE_URL: points to this server itself (port {port}), not to an upstream"
        raise SettingsError(msg)


def _prepare(settings: Settings, dsn: str, *, migrate: bool) -> None:
    """Migrate a database that this command did not start, or check that it has a schema."""
    if migrate:
        migrate_to_head(migration_dsn(settings, dsn))
    else:
        require_schema(dsn)


@contextmanager
def _upstream(*, sandbox: bool) -> Generator[None, None, None]:
    """Use the sandbox as the upstream, if asked to."""
    if not sandbox:
        yield
        return
    from tokenbalance.sandbox.serving import serve_in_thread  # noqa: PLC0415 - only with --sandbox

    with serve_in_thread() as fake:
        _set_for_workers(
            OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY="sandbox", TOKENBALANCE_SANDBOX="true"
        )
        yield


def _set_for_workers(**variables: str) -> None:
    os.environ.update(variables)


def _run(settings: Settings, *, sandbox: bool) -> int:
    from tokenbalance.telemetry.logs import configure_logs  # noqa: PLC0415 - only to serve
    from tokenbalance.telemetry.worker_files import (  # noqa: PLC0415 - as above
        give_place,
        shared_files,
    )
    from tokenbalance.wire.server.run import run  # noqa: PLC0415 - as above
    from tokenbalance.wire.server.workers import WorkerFiles  # noqa: PLC0415 - as above

    configure_logs(settings.log_level, settings.log_format)
    keyless = settings.openai_api_key is None and not sandbox
    return run(
        host=settings.host,
        port=settings.port,
        workers=settings.web_concurrency,
        log_level=settings.log_level,
        forwarded_allow_ips=settings.forwarded_allow_ips,
        shutdown_s=settings.shutdown_s,
        on_ready=partial(_print_next_steps, keyless=keyless),
        files=WorkerFiles(shared_files, give_place),
        load=_load_for_workers,
    )


def _load_for_workers() -> None:
    """Load what every worker needs, so that they share its memory."""
    from tokenbalance.openai.tokens import load  # noqa: PLC0415 - only for several workers
    from tokenbalance.wire.server.run import APPLICATION  # noqa: PLC0415 - as above

    _ = import_module(APPLICATION.partition(":")[0])
    load()


def _print_next_steps(url: str, *, keyless: bool) -> None:
    command = _command()
    print_aside("Next, in another terminal:")
    print_aside(f"  {command} createsuperuser you@example.com --balance 100000")
    print_aside(f"  {command} key create you@example.com")
    print_aside(f"Users, keys and balances: {url}/admin (sign in with that password)")
    print_aside(f"API documentation: {url}/docs")
    if keyless:
        print_aside("OPENAI_API_KEY is not set: /v1 returns 503 until it is (or use --sandbox).")


def _command() -> str:
    """Return how to run this command from here: its name, or its path in a virtual environment."""
    if shutil.which("tokenbalance"):
        return "tokenbalance"
    script = Path(sys.executable).with_name("tokenbalance")
    if not script.exists():
        return f"{shlex.quote(sys.executable)} -m tokenbalance.cli"
    here = Path.cwd()
    return shlex.quote(str(script.relative_to(here) if script.is_relative_to(here) else script))
