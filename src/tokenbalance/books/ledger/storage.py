"""The charge for storage: once a day and account, an entry for the bytes times the days.

The bytes are those of files, vector stores and containers, as the table of objects has them. The
rate is `gb_day` of the card's row for the name `storage`; without one nothing is entered. A
gigabyte has 10^9 bytes. Any number of replicas may do this: a day has one entry.
"""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.books.pricing.rate_card import UnpricedModel
from tokenbalance.books.pricing.rates import AMOUNT_MAX, decimal_text
from tokenbalance.database import statements
from tokenbalance.database.connections import UNAVAILABLE

if TYPE_CHECKING:
    from tokenbalance.books.pricing.rate_card import RateCard
    from tokenbalance.database.connections import Pool

logger = logging.getLogger(__name__)

STORAGE: Final = "storage"
"""What the card calls it, where it names models."""
_UNIT: Final = "gb_day"
_PERIOD_S: Final = 600.0
_RETRY_S: Final = 10.0


class StorageCharges:
    """Charges what accounts store."""

    def __init__(self, pool: Pool, card: RateCard | None) -> None:
        self._pool = pool
        self._card = card

    async def run(self) -> None:
        """Charge at once and then periodically, until cancelled; no error ends it."""
        while True:
            pause_s = _PERIOD_S
            try:
                _ = await self.charge()
            except UNAVAILABLE as error:
                logger.warning("storage cannot be charged now: %s", type(error).__name__)
                pause_s = _RETRY_S
            except Exception:
                logger.exception("storage cannot be charged")
            await asyncio.sleep(pause_s)

    async def charge(self) -> int:
        """Enter what accounts have stored, unless today's entry is made; raises as asyncpg does.

        Returns:
            The credits that were taken.

        """
        rate = self.rate()
        if rate == 0:
            return 0
        taken = 0
        for (account_id,) in cast("list[tuple[int]]", await self._pool.fetch(statements.STORING)):
            amount = cast(
                "int | None",
                await self._pool.fetchval(
                    statements.CHARGE_STORAGE, account_id, Decimal(decimal_text(rate)), AMOUNT_MAX
                ),
            )
            taken += amount or 0
        return taken

    def rate(self) -> int:
        """Nano-credits for a gigabyte and a day, today."""
        if self._card is None:
            return 0
        try:
            return self._card.rates_for(STORAGE).nano[_UNIT]
        except UnpricedModel:
            return 0
