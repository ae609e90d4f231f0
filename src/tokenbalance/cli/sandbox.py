"""`tokenbalance sandbox`: only the fake OpenAI."""

from typing import Annotated

import typer

from tokenbalance.cli.output import print_aside


def serve_sandbox(
    *,
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")
    ] = 8001,
) -> None:
    """Serve a small fake OpenAI on 127.0.0.1, for clients and tests."""
    from tokenbalance.sandbox.serving import run  # noqa: PLC0415 - a server is slow to import

    print_aside(f"Sandbox listening on http://127.0.0.1:{port}/v1")
    try:
        run(port=port)
    except OSError as error:
        print_aside(f"error: Cannot listen on port {port}: {error.strerror}")
        raise typer.Exit(1) from None
