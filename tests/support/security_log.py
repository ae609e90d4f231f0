"""The security log of this process, as it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from tokenbalance.events.security import NAME
from tokenbalance.telemetry.logs import ConsoleFormatter, JsonFormatter

if TYPE_CHECKING:
    import pytest

    from tokenbalance.database.connections import Pool

_OF_EVERY_LINE = {"time", "level", "logger", "message"}


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What the security log has said since the test began, by field, oldest first."""
    said = [orjson.loads(JsonFormatter().format(r)) for r in caplog.records if r.name == NAME]
    return [{name: line[name] for name in line.keys() - _OF_EVERY_LINE} for line in said]


def events_said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The names of those lines."""
    return [line["event"] for line in lines(caplog)]


def everything_logged(caplog: pytest.LogCaptureFixture) -> str:
    """Every line of every logger, in both formats."""
    formatters = (JsonFormatter(), ConsoleFormatter())
    return "\n".join(each.format(record) for record in caplog.records for each in formatters)


async def recorded(pool: Pool) -> list[tuple[Any, ...]]:
    """Event, actor, user, key and details of each row, oldest first."""
    rows = await pool.fetch("SELECT event, actor, user_id, key_id, details FROM events ORDER BY id")
    return [(*tuple(row)[:-1], orjson.loads(row["details"])) for row in rows]
