"""Images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tokenbalance.openai.operation import Operation

IMAGES: Final[tuple[Operation, ...]] = ()
