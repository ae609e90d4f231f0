"""Images."""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.families import IMAGE_EDITS
from tokenbalance.openai.families import IMAGES as DRAWN
from tokenbalance.openai.operation import Operation

IMAGES: Final = (
    Operation("POST", "/images/generations", DRAWN, "Images"),
    Operation("POST", "/images/edits", IMAGE_EDITS, "Edited images"),
)
