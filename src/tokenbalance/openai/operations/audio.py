"""Speech, transcriptions, and new voices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tokenbalance.openai.operation import Operation

AUDIO: Final[tuple[Operation, ...]] = ()
