"""`tokenbalance serve`: a database, a schema, perhaps a sandbox, and then the server.

What is resolved here reaches the application through the environment, because every worker
process reads its settings anew.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from tokenbalance.cli.database import migrate_to_head, open_database, require_schema
from tokenbalance.cli.migrate import migration_dsn
from tokenbalance.cli.output import print_aside
from tokenbalance.settings import Settings, SettingsError, load_settings
from tokenbalance.wire.server.own_address import is_own_address


def serve(
    *,
    host: Annotated[str | None, typer.Option("--host", help="Address; HOST if not given.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="PORT if not given; 0: any.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=256, help="Processes; WEB_CONCURRENCY.")
    ] = None,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Answer from the built-in fake OpenAI; needs no key.")
    ] = False,
    no_migrate: Annotated[
        bool, typer.Option("--no-migrate", help="Leave the schema of DATABASE_URL as it is.")
    ] = False,
) -> None:
    """Serve the proxy, on DATABASE_URL or on an embedded Postgres."""
    given = {"host": host, "port": port, "web_concurrency": workers}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    if not sandbox:
        _refuse_own_address(settings)
    with open_database(settings, exclusive=True) as dsn:
        if settings.database_url is not None:
            _prepare(settings, dsn, migrate=not no_migrate)
        _tell_workers(DATABASE_URL=dsn)
        with _upstream(sandbox=sandbox):
            exit_code = _run(settings, sandbox=sandbox)
    raise typer.Exit(exit_code)


def _refuse_own_address(settings: Settings) -> None:
    """Start no server that is its own upstream, where that can be seen.

    Raises:
        SettingsError: requests would come back.

    """
    parts = urlsplit(settings.openai_base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if port == settings.port and is_own_address(parts.hostname or "", settings.host):
        msg = f"OPENAI_BASE_URL: is this server's own address (port {port}), not an upstream's"
        raise SettingsError(msg)


def _prepare(settings: Settings, dsn: str, *, migrate: bool) -> None:
    """Bring the schema of a database that is not ours to start to where it has to be."""
    if migrate:
        migrate_to_head(migration_dsn(settings, dsn))
    else:
        require_schema(dsn)


@contextmanager
def _upstream(*, sandbox: bool) -> Generator[None, None, None]:
    """Put the sandbox in the upstream's place, if asked to."""
    if not sandbox:
        yield
        return
    from tokenbalance.sandbox.serving import serve_in_thread  # noqa: PLC0415 - only with --sandbox

    with serve_in_thread() as fake:
        _tell_workers(
            OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY="sandbox", TOKENBALANCE_SANDBOX="true"
        )
        yield


def _tell_workers(**variables: str) -> None:
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
        on_ready=partial(_say_what_is_next, keyless=keyless),
        files=WorkerFiles(shared_files, give_place),
    )


def _say_what_is_next(url: str, *, keyless: bool) -> None:
    command = _command()
    print_aside("Next, in another terminal:")
    print_aside(f"  {command} createsuperuser you@example.com --balance 100000")
    print_aside(f"  {command} key create you@example.com")
    print_aside(f"Users, keys and balances: {url}/admin (with the password you gave)")
    print_aside(f"How to call it: {url}/docs")
    if keyless:
        print_aside("OPENAI_API_KEY is not set: /v1 answers 503 until it is (or use --sandbox).")


def _command() -> str:
    """How this command is called from here: its name, or the path of a virtual environment's."""
    if shutil.which("tokenbalance"):
        return "tokenbalance"
    script = Path(sys.executable).with_name("tokenbalance")
    if not script.exists():
        return f"{shlex.quote(sys.executable)} -m tokenbalance.cli"
    here = Path.cwd()
    return shlex.quote(str(script.relative_to(here) if script.is_relative_to(here) else script))
