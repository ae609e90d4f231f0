"""What the lists of the panel have in common."""

from __future__ import annotations

from typing import Final

ROWS: Final = 50
"""Rows of a page."""
