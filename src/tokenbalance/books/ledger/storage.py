"""The charge for storage: once a day and account, an entry for the bytes times the days.

The bytes are those of files, vector stores and containers, as the table of objects has them. The
rate is `gb_day` of the card's row for the name `storage`; without one nothing is entered. A
gigabyte has 10^9 bytes. Any number of replicas may do this: a day has one entry.
"""

from __future__ import annotations

import asyncio
import datetime as dt
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
_DAY: Final = dt.timedelta(days=1)
_REACH: Final = dt.timedelta(days=31)
"""How far back an entry may reach."""
_PERIOD_S: Final = 600.0
_RETRY_S: Final = 10.0
_DEADLINE_S: Final = 30.0
"""Of a statement: one goes through many rows, the other may wait for the account's lock."""


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
        taken, since = 0, self._priced_since()
        storing = await self._pool.fetch(statements.STORING, deadline_s=_DEADLINE_S)
        for (account_id,) in cast("list[tuple[int]]", storing):
            amount = cast(
                "int | None",
                await self._pool.fetchval(
                    statements.CHARGE_STORAGE,
                    account_id,
                    Decimal(decimal_text(rate)),
                    AMOUNT_MAX,
                    since,
                    deadline_s=_DEADLINE_S,
                ),
            )
            taken += amount or 0
        return taken

    def rate(self, day: dt.date | None = None) -> int:
        """Nano-credits for a gigabyte and a day, on a day; today (UTC) by default."""
        if self._card is None:
            return 0
        try:
            return self._card.rates_for(STORAGE, day=day).nano[_UNIT]
        except UnpricedModel:
            return 0

    def _priced_since(self) -> dt.datetime:
        """Since when each day has had a price, as far back as an entry may reach."""
        first = dt.datetime.now(dt.UTC).date()
        oldest = first - _REACH
        while first > oldest and self.rate(before := first - _DAY):
            first = before
        return dt.datetime.combine(first, dt.time(), dt.UTC)
