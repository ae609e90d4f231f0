"""Who changes something in a test that is not about who did it."""

from __future__ import annotations

from typing import Final

from tokenbalance.model import Actor

NOBODY: Final = Actor("tests", user_id=0)
"""An ordinary user, whose changes are no events."""
