"""The day it is: asked for by a test while it runs, since a run of tests may cross midnight."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta

_MARGIN = timedelta(seconds=20)
"""What is left of a day at least, for a test to end within it."""


def midnight() -> datetime:
    """The moment at which the present day (UTC) began; waits where that day is about to end."""
    soon = datetime.now(UTC) + _MARGIN
    now = datetime.now(UTC)
    while now.date() != soon.date():
        time.sleep(0.1)
        now = datetime.now(UTC)
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def today() -> date:
    """The present day (UTC), as `midnight` has it."""
    return midnight().date()
