"""The command `tokenbalance`. What is a person's to fix is told in one line, never a traceback."""

from __future__ import annotations

import io
import sys

import typer


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 for what failed, 2 for how it was asked."""
    # Here, so that the package can be imported for one of its files without all the others.
    from tokenbalance.cli.commands import app  # noqa: PLC0415

    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot show is no reason to fail after the work is done.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return app(arguments or ["--help"], standalone_mode=False) or 0
    except typer.TyperException as error:
        return _fail(error.format_message(), error.exit_code)
    except typer.Abort:
        return _fail("aborted", 1)
    except Exception as error:
        from tokenbalance.cli.failures import describe  # noqa: PLC0415

        line = describe(error)
        if line is None:
            raise
        return _fail(line, 1)


def _fail(message: str, exit_code: int) -> int:
    line = " ".join(message.split())
    _ = sys.stderr.write(f"error: {line}\n")
    return exit_code
