"""Logs: one line an event, as JSON or as plain text.

No secret and no text of a request may reach them. Every event is escaped to one line, so that a
client cannot forge lines.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

import orjson
from typing_extensions import override

from tokenbalance.events.security import NAME as SECURITY

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "color_message",
    "taskName",
}


def configure_logs(level: str, log_format: Literal["json", "console"] | None) -> None:
    """Send every log of the process to stderr.

    Args:
        level: the least important level that is shown; the security log is shown at every level.
        log_format: None for `console` on a terminal and `json` elsewhere.

    """
    # These are not shown, and looking them up takes longer than the rest of a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    plain = log_format == "console" or (log_format is None and sys.stderr.isatty())
    handler = LineHandler()
    handler.setFormatter(ConsoleFormatter() if plain else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Who did what is not a matter of how much one wants to read.
    logging.getLogger(SECURITY).setLevel(logging.INFO)


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes what one turn of the event loop has logged to stderr in one call.

    A warning or worse is written at once, with everything before it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.write(self.format(record), at_once=record.levelno >= logging.WARNING)
        except Exception:  # noqa: BLE001 - a handler reports its own faults and never raises
            self.handleError(record)

    def write(self, line: str, *, at_once: bool = False) -> None:
        """Write a line that is formatted already; `at_once` does not wait for the event loop."""
        self._lines.append(f"{line}\n")
        if at_once or not self._will_be_flushed():
            self.flush()

    @override
    def flush(self) -> None:
        self.acquire()
        try:
            lines, self._lines = self._lines, []
            if lines:
                _ = self.stream.write("".join(lines))
            super().flush()
        finally:
            self.release()

    def _will_be_flushed(self) -> bool:
        """Make sure that the event loop flushes; False where none is running, as in a thread."""
        if len(self._lines) > 1:
            # It will: a line is left here only for that.
            return True
        try:
            _ = asyncio.get_running_loop().call_soon(self.flush)
        except RuntimeError:
            return False
        return True


def _fields(record: logging.LogRecord) -> dict[str, object]:
    attributes: dict[str, object] = vars(record)
    return {name: value for name, value in attributes.items() if name not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the members of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json_line(event)


def json_line(event: dict[str, object]) -> str:
    """Write an event as one line that is printable whatever it contains."""
    line = orjson.dumps(event, default=str).decode()
    return line if line.isprintable() else "".join(map(_as_json, line))


def _as_json(char: str) -> str:
    """Escape what orjson leaves as it is, such as U+2028 and the controls of terminals."""
    return char if char.isprintable() else json.dumps(char)[1:-1]


class ConsoleFormatter(logging.Formatter):
    """Time, level and message, for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        time = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{time} {record.levelname.lower():8}{_one_line(record.getMessage() + fields)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
