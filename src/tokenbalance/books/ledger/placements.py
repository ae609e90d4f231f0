"""Placing holds: those of many requests in one statement where they fit whole, else one by one.

Owns how PLACE and its likes are sent and read. Which of them places a hold makes no difference to
it; the single one has the last word about what fits, and nothing here may decide it.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, cast

from tokenbalance.books.ledger.account_queues import AccountQueues
from tokenbalance.books.ledger.fallback import each_alone, nothing_done
from tokenbalance.database import statements
from tokenbalance.database.batches import Left
from tokenbalance.model import Hold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenbalance.database.batches import Batch
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Caller, Claim, Purpose


@dataclass(frozen=True, slots=True)
class Placement:
    """A hold to be placed, if it fits."""

    caller: Caller
    purpose: Purpose
    claim: Claim

    @property
    def account_id(self) -> int:
        """Whose credits are claimed."""
        return self.caller.account_id

    @property
    def key(self) -> tuple[int, str]:
        """What the hold is found by."""
        return self.caller.account_id, self.purpose.request_id

    def placed(self, amount: int) -> Hold:
        """The hold of so many credits."""
        purpose = self.purpose
        return Hold(purpose.request_id, self.caller.account_id, amount, purpose.rates)


class Placements:
    """Places holds on the request path's pool; raises what asyncpg raises."""

    def __init__(self, pool: Pool, lease_s: float, batch_max: int) -> None:
        self._pool = pool
        self._lease_s = lease_s
        self._at_once = AccountQueues[Placement, Hold | None](
            self._place_several,
            self._place_of_one,
            attrgetter("account_id"),
            batch_max,
            turns=pool.turns,
        )

    async def place(self, placement: Placement) -> Hold | None:
        """Place a hold together with others; None when it does not fit at this moment.

        When this is cancelled the hold may be placed all the same.
        """
        hold = await self._at_once.ask(placement)
        return await self.place_alone(placement) if hold is Left.LEFT else hold

    async def place_alone(self, placement: Placement, position: int | None = None) -> Hold | None:
        """Place a hold with a statement of its own; None when it does not fit at this moment.

        Args:
            placement: the hold.
            position: the request's own among the waiters; None lets all of them go first.

        """
        purpose, claim = placement.purpose, placement.claim
        row = await self._pool.fetchrow(
            statements.PLACE,
            placement.caller.account_id,
            purpose.request_id,
            placement.caller.key_id,
            claim.wanted,
            claim.minimum,
            purpose.endpoint,
            purpose.model,
            claim.known_input,
            self._lease_s,
            position,
            claim.estimated_output,
            None if purpose.rates is None else purpose.rates.text,
        )
        return None if row is None else placement.placed(cast("int", row[0]))

    async def _place_several(self, batch: Batch[Placement, Hold | None]) -> None:
        await self._place_many(statements.PLACE_MANY, batch)

    async def _place_of_one(self, batch: Batch[Placement, Hold | None]) -> None:
        if len(batch) > 1:
            await self._place_many(statements.PLACE_MANY_OF_ONE, batch)
        await each_alone(batch, self.place_alone)

    async def _place_many(self, statement: str, batch: Batch[Placement, Hold | None]) -> None:
        with nothing_done():
            rows = await self._pool.fetch(
                statement, *_columns([pending.item for pending in batch]), self._lease_s
            )
            placed = {
                (account_id, request_id): amount
                for account_id, request_id, amount in cast("list[tuple[int, str, int]]", rows)
            }
            for pending in batch:
                # Out of it, so that of two with one name only the first is told.
                amount = placed.pop(pending.item.key, None)
                if amount is not None:
                    pending.resolve(pending.item.placed(amount))


def _columns(placements: Sequence[Placement]) -> list[list[object]]:
    rows = [
        (
            placement.caller.account_id,
            placement.purpose.request_id,
            placement.caller.key_id,
            placement.claim.wanted,
            placement.claim.minimum,
            placement.purpose.endpoint,
            placement.purpose.model,
            placement.claim.known_input,
            placement.claim.estimated_output,
            None if placement.purpose.rates is None else placement.purpose.rates.text,
        )
        for placement in placements
    ]
    return [list(column) for column in zip(*rows, strict=True)]
