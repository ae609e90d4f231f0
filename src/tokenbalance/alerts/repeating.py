"""Work that is repeated until it is cancelled; no error ends it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tokenbalance.database.connections import is_unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)


async def repeat(
    work: Callable[[], Awaitable[object]], what: str, pause_s: float, retry_s: float
) -> None:
    """Do something again and again.

    Args:
        work: that.
        what: how an error of it is logged, such as `alerts cannot be delivered`.
        pause_s: between two times.
        retry_s: after the database was unavailable.

    """
    while True:
        pause = pause_s
        try:
            _ = await work()
        except Exception as error:
            if is_unavailable(error):
                logger.debug("%s now: %s", what, type(error).__name__)
                pause = retry_s
            else:
                logger.exception("%s", what)
        await asyncio.sleep(pause)
