"""Alarms: seen at once, and once a minute."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tokenbalance.telemetry.alarms import Alarms

if TYPE_CHECKING:
    import pytest


def test_an_alarm_of_a_kind_is_an_error_once_a_minute_and_says_how_many_there_were(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 1000.0
    alarms = Alarms(lambda: now)
    with caplog.at_level(logging.INFO, "tokenbalance.telemetry.alarms"):
        for _ in range(3):
            alarms.sound("money", "it is out")
        alarms.sound("key", "it is refused")
        now += 59
        alarms.sound("money", "it is out")
        assert [record.message for record in caplog.records] == ["it is out", "it is refused"]
        now += 1
        alarms.sound("money", "it is out")
        alarms.sound("key", "it is refused")
    assert caplog.messages[2:] == ["it is out (and 3 times before)", "it is refused"]
    assert {record.levelname for record in caplog.records} == {"ERROR"}
