"""The command `tokenbalance`. A failure that a person can fix is one line, never a traceback."""

from __future__ import annotations

import io
import sys

import typer


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code: 0; 1 if it failed; 2 for wrong usage."""
    from tokenbalance.cli.commands import app  # noqa: PLC0415 - imports every command

    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot show must not fail a command that has done its work.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return app(arguments or ["--help"], standalone_mode=False) or 0
    except typer.TyperException as error:
        return _fail(error.format_message(), error.exit_code)
    except typer.Abort:
        return _fail("Aborted", 1)
    except Exception as error:
        from tokenbalance.cli.failures import describe  # noqa: PLC0415 - only for a failure

        line = describe(error)
        if line is None:
            raise
        return _fail(line, 1)


def _fail(message: str, exit_code: int) -> int:
    line = " ".join(message.split())
    _ = sys.stderr.write(f"error: {line}\n")
    return exit_code
