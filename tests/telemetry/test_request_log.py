"""The line of a request reads as any other line, and goes wherever others go."""

from __future__ import annotations

import json
import logging
from io import StringIO

import pytest

from tokenbalance.telemetry.logs import JsonFormatter, LineHandler
from tokenbalance.telemetry.request_log import RequestLog

ODD = "/v1/\u2028x\x1b[1m\x7f"


def log_as_a_server(monkeypatch: pytest.MonkeyPatch, *others: logging.Handler) -> StringIO:
    """Let a test log as a process that serves does, without the handlers of pytest."""
    written = StringIO()
    handler = LineHandler()
    _ = handler.setStream(written)
    handler.setFormatter(JsonFormatter())
    monkeypatch.setattr(logging.root, "handlers", [handler, *others])
    return written


@pytest.fixture
def logger() -> logging.Logger:
    logger = logging.getLogger("requests")
    logger.setLevel(logging.INFO)
    return logger


@pytest.mark.parametrize("path", ["/v1/models", ODD])
def test_it_reads_as_a_line_of_the_logger(
    monkeypatch: pytest.MonkeyPatch, logger: logging.Logger, path: str
) -> None:
    written = log_as_a_server(monkeypatch)
    RequestLog(logger).responded("GET", path, 200, "tb_1", 0.01234)
    logger.info("%s %s %d", "GET", path, 200, extra={"request_id": "tb_1", "milliseconds": 12.3})
    ours, usual = written.getvalue().splitlines()
    one, other = ({**json.loads(line), "time": ""} for line in (ours, usual))
    assert list(one.items()) == list(other.items())
    assert ours.isprintable()
    assert json.loads(ours)["time"][:16] == json.loads(usual)["time"][:16]


def test_it_is_a_record_where_somebody_else_listens(
    monkeypatch: pytest.MonkeyPatch, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    written = log_as_a_server(monkeypatch, caplog.handler)
    RequestLog(logger).responded("GET", "/v1/models", 200, "tb_1", 0.01)
    assert caplog.messages == ["GET /v1/models 200"]
    assert len(written.getvalue().splitlines()) == 1


def test_there_is_none_below_the_level(
    monkeypatch: pytest.MonkeyPatch, logger: logging.Logger
) -> None:
    written = log_as_a_server(monkeypatch)
    logger.setLevel(logging.WARNING)
    RequestLog(logger).responded("GET", "/v1/models", 200, "tb_1", 0.01)
    assert not written.getvalue()
