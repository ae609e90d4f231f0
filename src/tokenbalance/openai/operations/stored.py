"""Stored responses and chats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tokenbalance.openai.operation import Operation

STORED: Final[tuple[Operation, ...]] = ()
