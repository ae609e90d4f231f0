"""The security log: limited where strangers write it, and one line whatever they write."""

from __future__ import annotations

import asyncio
import logging
from io import StringIO
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.security_log import lines
from tokenbalance.events import Line
from tokenbalance.events.security import LINES_MAX, NAME, WINDOW_S, Refusals, say
from tokenbalance.telemetry.logs import ConsoleFormatter, JsonFormatter, configure_logs

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    """A clock that only tests move."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def _logging_restored() -> Iterator[None]:
    root, security = logging.getLogger(), logging.getLogger(NAME)
    before = (root.level, [*root.handlers], security.level)
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    security.setLevel(before[2])


def test_a_flood_has_as_many_lines_as_fit_into_a_minute_and_one_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    refusals = Refusals(clock)
    assert sum(refusals.admit("key.refused") for _ in range(1000)) == LINES_MAX
    # Another event has a limit of its own.
    assert refusals.admit("form.refused")
    clock.now = WINDOW_S - 1
    assert not refusals.admit("key.refused")
    assert lines(caplog) == []
    clock.now = WINDOW_S
    assert refusals.admit("key.refused")
    left_out = {"event": "key.refused", "outcome": "refused", "left_out": 1001 - LINES_MAX}
    assert lines(caplog) == [left_out]


async def test_a_flood_that_stops_is_summed_up_too(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenbalance.events.security.WINDOW_S", 0.05)
    refusals = Refusals()
    for _ in range(LINES_MAX + 3):
        refusals.admit("key.refused")
    async with asyncio.timeout(10):
        while not lines(caplog):
            await asyncio.sleep(0.01)
    assert [line["left_out"] for line in lines(caplog)] == [3]


def test_a_flood_within_its_limit_is_not_summed_up(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    refusals = Refusals(clock)
    assert all(refusals.admit("key.refused") for _ in range(LINES_MAX))
    clock.now = WINDOW_S
    assert refusals.admit("key.refused")
    assert lines(caplog) == []


def test_a_line_says_only_what_is_known(caplog: pytest.LogCaptureFixture) -> None:
    say(Line(event="user.signed_in", outcome="ok", user=7, address=""))
    assert lines(caplog) == [{"event": "user.signed_in", "outcome": "ok", "user": 7}]


def test_what_people_name_themselves_forges_no_line(caplog: pytest.LogCaptureFixture) -> None:
    forged = 'a@b.c\n12:00:00 info    security event=user.signed_in "x"\x1b[2J\u2028\x9b\x7f'
    say(Line(event="user.renamed", outcome="ok", actor=forged, path="/\r\n"))
    (spoken,) = caplog.records
    for formatter in (ConsoleFormatter(), JsonFormatter()):
        line = formatter.format(spoken)
        assert len(line.splitlines()) == 1
        assert line.isprintable()
    assert orjson.loads(JsonFormatter().format(spoken))["actor"] == forged


@pytest.mark.usefixtures("_logging_restored")
@pytest.mark.parametrize("level", ["info", "error"])
def test_the_security_log_is_written_at_every_level(
    monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    written = StringIO()
    monkeypatch.setattr("sys.stderr", written)
    configure_logs(level, "console")
    say(Line(event="user.signed_in", outcome="ok", user=7))
    assert written.getvalue().endswith("security event=user.signed_in outcome=ok user=7\n")
