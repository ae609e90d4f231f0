"""What the operator reads on the terminal: one line when the server is ready, one when it fails.

Owns these lines and their streams. It must never print a traceback: those go to the debug log.
"""

from __future__ import annotations

import sys


def announce(url: str) -> None:
    """Print to stdout that requests are answered at `url`."""
    sys.stdout.write(f"listening on {url}\n")
    sys.stdout.flush()


def report_failure(reason: str) -> None:
    """Print to stderr why the server does not start, or did not stop as it should."""
    sys.stderr.write(f"{reason}\n")
    sys.stderr.flush()


def one_line(error: BaseException) -> str:
    """The innermost message of an error, with its type where the message alone says too little."""
    while isinstance(error, BaseExceptionGroup):
        nested: tuple[BaseException, ...] = error.exceptions
        error = nested[0]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    name = type(error).__name__
    return f"{name}: {text}" if not text or isinstance(error, (LookupError, TypeError)) else text
