"""A log that is listened to, and nobody's refusals counted before."""

from __future__ import annotations

import logging

import pytest

from tokenbalance.events import refusals


@pytest.fixture(autouse=True)
def _listening(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    refusals._windows.clear()
